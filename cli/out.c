/* SPDX-License-Identifier: Apache-2.0 */
#include "out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "place.h"
#include "progress.h"
#include "term.h"
#include "text.h"

int exit_of(st_status status)
{
    if (status == ST_OK)
        return EXIT_GOOD;
    if (status == ST_ERR_STOPPED && progress_signal())
        return 128 + progress_signal(); /* what a shell makes of a program that a signal ended */
    return status < 20 ? EXIT_UNREADABLE : status < 60 ? EXIT_BAD : EXIT_USAGE;
}

st_status error_fill(st_error *error, st_status status, const char *format, ...)
{
    va_list args;
    *error = (st_error){.status = status, .offset = ST_NO_OFFSET};
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return status;
}

st_status io_error(const char *path, st_error *error)
{
    int reason = errno;
    error_fill(error, ST_ERR_IO, "%.300s: %s", path, strerror(reason));
    error->sys_errno = reason;
    return ST_ERR_IO;
}

/* What drew on the terminal has nowhere else to leave word. */
static void (*restore)(void);

void complain_after(void (*first)(void))
{
    restore = first;
}

void complain(const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    int printed = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    size_t len = printed < 0 ? 0 : strlen(message);
    unsigned flags = TEXT_KEEP_BACKSLASH | (term_has_utf8() ? 0 : TEXT_ASCII);

    if (restore)
        restore();
    fflush(stdout); /* what came first is to stand first, where both are one terminal */
    fputs("safetensors: ", stderr);
    struct text_piece piece;
    for (size_t i = 0; i < len;) {
        i += text_escape(message + i, len - i, flags, &piece);
        fwrite(piece.text, 1, piece.len, stderr);
    }
    fputc('\n', stderr);
}

/* Ends the program; or returns, the stream leading nowhere from then on. */
static void out_fail(struct out *out)
{
    int reason = errno;
    if (reason == EPIPE && out->goes_on && freopen("/dev/null", "w", out->stream))
        return;
    if (out->temporary)
        unlink(out->temporary);
    if (reason == EPIPE)
        _Exit(out->exit_code);
    complain("%s: %s", out->name, reason ? strerror(reason) : "write failed");
    _Exit(EXIT_UNREADABLE);
}

void out_open(struct out *out, int color)
{
    *out = (struct out){.stream = stdout, .name = "standard output"};
    out->tty = term_is(stdout);
    out->utf8 = term_has_utf8();
    out->color = color == COLOR_ALWAYS || (color == COLOR_AUTO && out->tty && term_wants_color());
    out->width = out->tty ? term_width(stdout) : 80;
    /* A pipe takes UTF-8 whatever the locale; a terminal of another charset might take parts of a
     * character for controls. */
    out->text_flags = out->tty && !out->utf8 ? TEXT_ASCII : 0;
}

void out_go_on(struct out *out)
{
    out->goes_on = true;
}

bool out_create(struct out *out, const char *path)
{
    *out = (struct out){.name = path, .width = 80, .utf8 = true};
    out->stream = fopen(path, "wb");
    if (!out->stream)
        complain("%s: %s", path, strerror(errno));
    return out->stream != NULL;
}

/* Opens a new file beside `path`, with the owner and mode of `there`, if not NULL. Gives NULL with the errno; `*name` is to
 * be freed. */
static FILE *temporary_open(const char *path, const struct stat *there, char **name)
{
    static const char suffix[] = ".XXXXXX";
    size_t len = strlen(path);
    *name = memory_new(len + sizeof suffix, 1);
    memcpy(*name, path, len);
    memcpy(*name + len, suffix, sizeof suffix);
    int fd = mkstemp(*name);
    if (fd < 0)
        return NULL;
    mode_t mask = umask(0);
    umask(mask);
    if (there && fchown(fd, there->st_uid, there->st_gid) != 0)
        there = NULL; /* who may not give it away gets a file of their own */
    mode_t mode = there ? there->st_mode & 07777 : 0666 & ~mask;
    FILE *stream = fchmod(fd, mode) == 0 ? fdopen(fd, "wb") : NULL;
    if (!stream) {
        int reason = errno;
        close(fd);
        unlink(*name);
        errno = reason;
    }
    return stream;
}

static void out_forget(struct out *out)
{
    free(out->temporary);
    free(out->target);
    out->temporary = out->target = NULL;
}

st_status out_replace_look(const char *path, st_error *error)
{
    if (place_is_model(path))
        return error_fill(error, ST_ERR_ARGUMENT,
                          "%.300s: this text would take the place of a model, or of the index of "
                          "one; name another file",
                          path);
    return place_check(path, error);
}

st_status out_replace(struct out *out, const char *path, st_error *error)
{
    struct stat there;
    *out = (struct out){.name = path, .width = 80, .utf8 = true};
    if (out_replace_look(path, error) != ST_OK)
        return error->status;
    bool exists = stat(path, &there) == 0;
    if (exists && !S_ISREG(there.st_mode)) {
        out->stream = fopen(path, "wb");
    } else {
        /* A link stays, and what it leads to is replaced. */
        char *resolved = realpath(path, NULL);
        out->target = resolved ? resolved : strdup(path);
        out->stream = out->target
                          ? temporary_open(out->target, exists ? &there : NULL, &out->temporary)
                          : NULL;
    }
    if (out->stream)
        return ST_OK;
    st_status status = io_error(path, error);
    out_forget(out);
    return status;
}

/* Waits until the bytes are on the disk, where there is one: a name that comes first may lead to an empty
 * file after a power cut. */
static bool stream_sync(FILE *stream)
{
    int result;
    do
        result = fsync(fileno(stream));
    while (result != 0 && errno == EINTR);
    return result == 0 || errno == EINVAL || errno == ENOTSUP;
}

int out_close(struct out *out)
{
    errno = 0;
    if (ferror(out->stream) || fflush(out->stream) != 0)
        out_fail(out);
    if (out->temporary && !stream_sync(out->stream))
        out_fail(out);
    if (fclose(out->stream) != 0)
        out_fail(out);
    if (out->temporary && rename(out->temporary, out->target) != 0)
        out_fail(out);
    out_forget(out);
    return out->exit_code;
}

void out_discard(struct out *out)
{
    fclose(out->stream);
    if (out->temporary)
        unlink(out->temporary);
    out_forget(out);
}

void out_worst(struct out *out, int code)
{
    if (code > out->exit_code)
        out->exit_code = code;
}

void out_signal(struct out *out)
{
    if (progress_signal())
        out_worst(out, 128 + progress_signal());
}

void out_write(struct out *out, const char *text, size_t len)
{
    if (len > 0 && fwrite(text, 1, len, out->stream) != len)
        out_fail(out);
}

void out_text(struct out *out, const char *text)
{
    out_write(out, text, strlen(text));
}

void out_print(struct out *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int printed = vfprintf(out->stream, format, args);
    va_end(args);
    if (printed < 0)
        out_fail(out);
}

void out_blanks(struct out *out, size_t count)
{
    static const char blanks[] = "                                ";
    for (size_t take; count > 0; count -= take) {
        take = count < sizeof blanks - 1 ? count : sizeof blanks - 1;
        out_write(out, blanks, take);
    }
}

void out_escaped(struct out *out, const char *text, size_t len)
{
    struct text_piece piece;
    for (size_t i = 0; i < len;) {
        size_t plain = text_plain_len(text + i, len - i);
        out_write(out, text + i, plain);
        i += plain;
        if (i < len) {
            i += text_escape(text + i, len - i, out->text_flags, &piece);
            out_write(out, piece.text, piece.len);
        }
    }
}

void out_message(struct out *out, const char *message)
{
    unsigned flags = out->text_flags;
    out->text_flags |= TEXT_KEEP_BACKSLASH;
    out_escaped(out, message, strlen(message));
    out->text_flags = flags;
}

static const char *const style_codes[] = {
    [STYLE_PLAIN] = "\033[0m",    [STYLE_HEAD] = "\033[1m",       [STYLE_GROUP] = "\033[1;34m",
    [STYLE_DTYPE] = "\033[36m",   [STYLE_SIZE] = "\033[32m",      [STYLE_DIM] = "\033[2m",
    [STYLE_ERROR] = "\033[1;31m", [STYLE_WARNING] = "\033[1;33m", [STYLE_NOTE] = "\033[1;36m",
};

void out_style(struct out *out, enum style style)
{
    if (out->color)
        out_text(out, style_codes[style]);
}

size_t out_style_read(const char *text, size_t len, enum style *style)
{
    for (size_t i = 0; i < sizeof style_codes / sizeof style_codes[0]; i++) {
        size_t code_len = strlen(style_codes[i]);
        if (len >= code_len && memcmp(text, style_codes[i], code_len) == 0) {
            *style = (enum style)i;
            return code_len;
        }
    }
    return 0;
}
