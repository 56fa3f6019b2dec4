/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors meta edit: a file's metadata as JSON in an editor. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd.h"
#include "content.h"
#include "memory.h"
#include "meta_write.h"
#include "term.h"

static const struct opt edit_options[] = {
    REWRITE_ROWS(meta_write_options, rewrite),
    {0},
};

/* The text in the editor. */
struct draft {
    char path[4096]; /* of the temporary file; "" if there is none */
    struct content before;
    struct content after;
};

/* ----------------------------------------------------------------------------- the text */

/* Makes an empty temporary file that only its owner may read: metadata may hold what its folder's file does not show
 * to everybody. Its name tells editors what it is. */
static st_status draft_make(struct draft *draft, st_error *error)
{
    const char *folder = getenv("TMPDIR");
    int len = snprintf(draft->path, sizeof draft->path, "%s/safetensors-XXXXXX.json",
                       folder && *folder ? folder : "/tmp");
    int fd = -1;
    if ((size_t)len < sizeof draft->path)
        fd = mkstemps(draft->path, (int)strlen(".json"));
    else
        errno = ENAMETOOLONG;
    if (fd < 0) {
        io_error("no temporary file for the editor", error);
        *draft->path = '\0';
        return error->status;
    }
    close(fd);
    return ST_OK;
}

/* Writes entries as meta export does, and keeps the text. */
static st_status draft_fill(struct draft *draft, const st_metadata *const *entries, size_t count,
                            st_error *error)
{
    struct out out;
    struct json json;
    if (!out_create(&out, draft->path))
        return io_error(draft->path, error);
    json_open(&json, &out, 2);
    st_json_emit_object_begin(json.emitter);
    for (size_t i = 0; i < count; i++) {
        st_json_emit_key(json.emitter, entries[i]->key, entries[i]->key_len);
        st_json_emit_string(json.emitter, entries[i]->value, entries[i]->value_len);
    }
    st_json_emit_object_end(json.emitter);
    json_close(&json);
    out_close(&out);
    return content_read(draft->path, &draft->before, error);
}

static bool draft_is_same(const struct draft *draft)
{
    return draft->before.len == draft->after.len &&
           memcmp(draft->before.text, draft->after.text, draft->after.len) == 0;
}

/* Gives the text back; one that somebody worked on and that is not in the file stays where it is. */
static void draft_release(struct draft *draft, bool done)
{
    if (*draft->path && (done || !draft->after.text || draft_is_same(draft)))
        unlink(draft->path);
    else if (*draft->path)
        complain("the text is kept in %s", draft->path);
    free(draft->before.text);
    free(draft->after.text);
}

/* --------------------------------------------------------------------------- the editor */

static const char *editor_find(void)
{
    const char *editor = getenv("VISUAL");
    if (!editor || !*editor)
        editor = getenv("EDITOR");
    return editor && *editor ? editor : "vi";
}

/* Becomes the editor, which may be a command with arguments: the shell reads it. */
static _Noreturn void editor_become(const char *editor, const char *path)
{
    static const char file[] = " \"$@\"";
    char *command = memory_new(strlen(editor) + sizeof file, 1);
    strcpy(command, editor);
    strcat(command, file);
    signal(SIGPIPE, SIG_DFL);
    /* What goes through a pipe is what this program prints. */
    if (!isatty(STDOUT_FILENO))
        dup2(STDERR_FILENO, STDOUT_FILENO);
    execl("/bin/sh", "sh", "-c", command, editor, path, (char *)NULL);
    _exit(127);
}

/* Runs the editor, and leaves Ctrl-C to it meanwhile. */
static st_status editor_run(const char *path, st_error *error)
{
    const char *editor = editor_find();
    int state = 0;
    pid_t child = fork();
    if (child < 0)
        return io_error("the editor", error);
    if (child == 0)
        editor_become(editor, path);
    void (*interrupt)(int) = signal(SIGINT, SIG_IGN), (*quit)(int) = signal(SIGQUIT, SIG_IGN);
    pid_t ended;
    do
        ended = waitpid(child, &state, 0);
    while (ended < 0 && errno == EINTR);
    signal(SIGINT, interrupt);
    signal(SIGQUIT, quit);
    if (ended == child && WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return ST_OK;
    return error_fill(error, ST_ERR_IO, "the editor, %.200s, %s %d: nothing was changed", editor,
                      WIFSIGNALED(state) ? "was ended by signal" : "ended with code",
                      WIFSIGNALED(state) ? WTERMSIG(state) : WEXITSTATUS(state));
}

/* Asks whether to go on; no, where nobody is there to answer. */
static bool asked_again(void)
{
    char answer[16];
    if (!term_is(stdin) || !term_is(stderr))
        return false;
    fputs("Edit it again? [Y/n] ", stderr);
    fflush(stderr);
    return fgets(answer, sizeof answer, stdin) && *answer != 'n' && *answer != 'N';
}

/* ------------------------------------------------------------------------------ the verb */

struct meta_edit {
    struct meta_write write; /* first: collect finds the rest behind it */
    struct draft draft;
    const st_metadata **shared; /* of the first file: what all files have alike */
    size_t shared_count;
};

static const st_header *header_at(const struct meta_write *write, size_t index)
{
    return st_file_header(input_file(write->input, index));
}

static bool is_shared(const struct meta_write *write, const st_metadata *entry)
{
    for (size_t i = 1; i < input_file_count(write->input); i++) {
        const st_metadata *other =
            st_header_metadata_find(header_at(write, i), entry->key, entry->key_len);
        if (!other || other->value_len != entry->value_len ||
            memcmp(other->value, entry->value, entry->value_len) != 0)
            return false;
    }
    return true;
}

static void shared_find(struct meta_edit *edit)
{
    const struct meta_write *write = &edit->write;
    if (input_file_count(write->input) == 0)
        return;
    const st_header *header = header_at(write, 0);
    size_t count = st_header_metadata_count(header);
    edit->shared = memory_new(count, sizeof *edit->shared);
    for (size_t i = 0; i < count; i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        if (is_shared(write, entry))
            edit->shared[edit->shared_count++] = entry;
    }
}

/* Lets the text be edited until it can be read, or is given up. */
static st_status draft_edit(struct meta_edit *edit, st_error *error)
{
    struct draft *draft = &edit->draft;
    for (;;) {
        st_error unreadable;
        free(draft->after.text);
        draft->after = (struct content){0};
        st_status status = editor_run(draft->path, error);
        st_status back = content_read(draft->path, &draft->after, &unreadable);
        if (status == ST_OK && back != ST_OK) {
            *error = unreadable;
            return back;
        }
        if (status != ST_OK || draft_is_same(draft))
            return status;
        meta_release(&edit->write.list);
        status =
            meta_read(&edit->write.list, draft->after.text, draft->after.len, draft->path, error);
        if (status != ST_ERR_JSON)
            return status;
        if (!term_is(stdin) || !term_is(stderr))
            return status;
        complain("%s", error->message);
        if (!asked_again())
            return error_fill(error, ST_ERR_JSON, "%.200s: nothing was changed",
                              edit->write.args->at[0]);
    }
}

/* Tells a file that is no longer the one that was read: its new content would be lost. Of a checkpoint the library
 * looks after that. */
static st_status file_check(const struct meta_write *write, st_error *error)
{
    st_source_info info;
    struct stat now;
    const char *path = write->args->at[0];
    if (write->options->rewrite.target.path || write->input->checkpoint)
        return ST_OK;
    st_status status = st_source_query(st_file_source(write->input->file), &info, error);
    if (status != ST_OK)
        return status;
    if (stat(path, &now) != 0)
        return io_error(path, error);
    int64_t mtime = (int64_t)now.st_mtim.tv_sec * 1000000000 + now.st_mtim.tv_nsec;
    if (info.inode == now.st_ino && info.device == now.st_dev && info.mtime_ns == mtime &&
        info.size == (uint64_t)now.st_size)
        return ST_OK;
    return error_fill(error, ST_ERR_CHANGED,
                      "%.200s: changed while its metadata was edited; nothing was written", path);
}

static st_status edit_collect(struct meta_write *write, st_error *error)
{
    struct meta_edit *edit = (struct meta_edit *)(void *)write;
    st_status status = draft_make(&edit->draft, error);
    shared_find(edit);
    if (status == ST_OK)
        status = draft_fill(&edit->draft, edit->shared, edit->shared_count, error);
    if (status == ST_OK)
        status = draft_edit(edit, error);
    if (status == ST_OK && !draft_is_same(&edit->draft))
        status = file_check(write, error);
    return status;
}

/* What a file has for itself, and was not in the text, stays. */
static void edit_resolve(struct meta_write *write, const st_header *header)
{
    const struct meta_edit *edit = (const struct meta_edit *)(void *)write;
    meta_resolve(&write->list, header, false);
    if (draft_is_same(&edit->draft))
        return;
    for (size_t i = 0; i < edit->shared_count; i++) {
        const st_metadata *entry = edit->shared[i];
        if (!meta_has(&write->list, entry))
            meta_remove(&write->list, st_header_metadata_find(header, entry->key, entry->key_len));
    }
}

static int edit_run(const struct verb *verb, int argc, char **argv)
{
    struct meta_write_options options;
    struct args args;
    struct meta_edit edit = {
        .write = {
            .options = &options, .args = &args, .collect = edit_collect, .resolve = edit_resolve}};
    int code = meta_write_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO && strcmp(args.at[0], "-") == 0)
        code = usage_error(verb, "standard input is the editor's: name a FILE");
    if (code == OPT_GO) {
        code = meta_write_main(&edit.write);
        draft_release(&edit.draft, code == EXIT_GOOD);
        free(edit.shared);
    }
    free(args.at);
    return code;
}

const struct verb verb_meta_edit = {
    .name = "meta edit",
    .brief = "Edit a file's metadata in an editor",
    .about =
        "Opens the metadata, as the JSON object that meta export writes, in $VISUAL, $EDITOR, or "
        "vi. When the editor has ended, FILE has just what the text says. Text that is no JSON "
        "object of strings is told with line and column, and on a terminal can be edited again; "
        "where it cannot be used, it is kept in its temporary file. Text that was not changed "
        "changes nothing.\n\n"
        "The file is written anew, whole or not at all: until everything is written, and after any "
        "failure, the old one is there. If it was changed meanwhile by somebody else, it stays as "
        "it is.\n\n"
        "Of a folder of shards or an index the text is what all files have alike; it is changed in "
        "all of them or in none, and what one has for itself stays. The index, whose own metadata "
        "is another one, stays as it is.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL}, {0}},
    .options = edit_options,
    .examples =
        (const struct example[]){
            {"safetensors meta edit model.safetensors", "In $EDITOR."},
            {"VISUAL='code --wait' safetensors meta edit model.safetensors",
             "In an editor that has to be waited for."},
            {0},
        },
    .reads_files = true,
    .run = edit_run,
};
