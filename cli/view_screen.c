/* SPDX-License-Identifier: Apache-2.0 */
#include "view_screen.h"

#define NCURSES_WIDECHAR 1
#define NCURSES_NOMACROS 1
#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "term.h"
#include "text.h"

/* Milliseconds after which an escape character stands for itself and begins no key; ESCDELAY may say another. */
#define ESCAPE_DELAY 50
/* So often the terminal may have something to read that makes no key: it is gone, then. */
#define BLANK_READS_MAX 64
/* A text ends for the screen where so many characters of no width follow each other. */
#define WIDTHLESS_MAX 16

/* -------------------------------------------------------------------------------- signals */

static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { ENDS = sizeof ends / sizeof ends[0] };

/* A signal has nowhere else to leave word; the pipe wakes whoever waits for a key. */
static volatile sig_atomic_t caught;
static volatile sig_atomic_t resized;
static int wake[2] = {-1, -1};
static struct sigaction before[ENDS + 1];

static void signal_note(int number)
{
    int reason = errno;
    if (number == SIGWINCH)
        resized = 1;
    else
        caught = number;
    ssize_t wrote = write(wake[1], "", 1);
    (void)wrote; /* full: it wakes as well */
    errno = reason;
}

/* ncurses leaves the signals alone that are taken when it starts. */
static bool signals_take(void)
{
    struct sigaction action = {.sa_handler = signal_note, .sa_flags = SA_RESTART};
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0)
        return false;
    caught = resized = 0;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < ENDS; i++) {
        sigaction(ends[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN)
            sigaction(ends[i], &action, NULL);
    }
    sigaction(SIGWINCH, &action, &before[ENDS]);
    return true;
}

static void signals_give_back(void)
{
    for (int i = 0; i < ENDS; i++)
        sigaction(ends[i], &before[i], NULL);
    sigaction(SIGWINCH, &before[ENDS], NULL);
    close(wake[0]);
    close(wake[1]);
}

int screen_signal(void)
{
    return caught;
}

/* ------------------------------------------------------------------------------- the object */

static SCREEN *terminal; /* NULL: not taken */
static FILE *keys;       /* where they come from */
static int at_row;       /* where the next text goes */
static int at_col;

static bool terminal_can(const char *capability)
{
    const char *code = tigetstr(capability);
    return code && code != (const char *)-1 && *code;
}

static void terminal_give_back(void)
{
    if (terminal) {
        endwin();
        delscreen(terminal);
    }
    terminal = NULL;
    signals_give_back();
    if (keys != stdin)
        fclose(keys);
}

static void colors_start(void)
{
    static const short colors[] = {COLOR_BLUE,   COLOR_CYAN, COLOR_GREEN,
                                   COLOR_YELLOW, COLOR_RED,  COLOR_CYAN};
    short ground = use_default_colors() == OK ? -1 : COLOR_BLACK;
    for (short i = 0; i < (short)(sizeof colors / sizeof colors[0]); i++)
        init_pair((short)(i + 1), colors[i], ground);
}

static void modes_set(void)
{
    cbreak();
    noecho();
    nonl();
    intrflush(stdscr, FALSE);
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    scrollok(stdscr, FALSE);
    leaveok(stdscr, FALSE);
    if (!getenv("ESCDELAY"))
        set_escdelay(ESCAPE_DELAY);
    curs_set(0);
}

static void size_take(struct screen *screen)
{
    screen->rows = getmaxy(stdscr);
    screen->cols = getmaxx(stdscr);
}

st_status screen_open(struct screen *screen, int color, st_error *error)
{
    struct out out;
    const char *name = getenv("TERM");
    out_open(&out, color);
    *screen = (struct screen){.color = out.color, .utf8 = out.utf8, .text_flags = out.text_flags};
    if (!out.tty)
        return error_fill(error, ST_ERR_UNSUPPORTED, "standard output is no terminal");
    keys = term_is(stdin) ? stdin : fopen("/dev/tty", "r");
    if (!keys)
        return io_error("/dev/tty", error);
    if (!signals_take()) {
        io_error("a pipe", error);
        if (keys != stdin)
            fclose(keys);
        return error->status;
    }
    terminal = newterm(name, stdout, keys);
    /* Without these it cannot be drawn on in any order. */
    if (!terminal || !terminal_can("cup") || !terminal_can("clear")) {
        terminal_give_back();
        return error_fill(error, ST_ERR_UNSUPPORTED,
                          "cannot draw on a terminal of the type %s, which TERM names",
                          name ? text_quote(name, strlen(name)).text : "\"\"");
    }
    complain_after(screen_close);
    modes_set();
    screen->color = screen->color && has_colors() && start_color() == OK;
    if (screen->color)
        colors_start();
    size_take(screen);
    return ST_OK;
}

/* A terminal without a screen of its own for programs goes on with what is drawn: its last row is where the shell
 * will write. */
static void last_row_clear(void)
{
    if (terminal_can("smcup"))
        return;
    attrset(A_NORMAL);
    move(getmaxy(stdscr) - 1, 0);
    clrtoeol();
    refresh();
}

void screen_close(void)
{
    complain_after(NULL);
    if (!terminal)
        return;
    last_row_clear();
    terminal_give_back();
}

/* ------------------------------------------------------------------------------------- keys */

static int key_of(wint_t code)
{
    switch (code) {
    case KEY_RESIZE: return SCREEN_RESIZE;
    case KEY_UP: return SCREEN_UP;
    case KEY_DOWN: return SCREEN_DOWN;
    case KEY_LEFT: return SCREEN_LEFT;
    case KEY_RIGHT: return SCREEN_RIGHT;
    case KEY_HOME: return SCREEN_HOME;
    case KEY_END: return SCREEN_LAST;
    case KEY_PPAGE: return SCREEN_PAGE_UP;
    case KEY_NPAGE: return SCREEN_PAGE_DOWN;
    case KEY_BACKSPACE:
    case KEY_DC: return SCREEN_BACKSPACE;
    case KEY_ENTER: return SCREEN_ENTER;
    default: return SCREEN_OTHER;
    }
}

static int character_of(wint_t c)
{
    if (c == '\r')
        return SCREEN_ENTER;
    if (c == 0x7f || c == SCREEN_CONTROL('h'))
        return SCREEN_BACKSPACE;
    return c < SCREEN_NONE ? (int)c : SCREEN_OTHER;
}

static void size_follow(void)
{
    struct winsize size;
    resized = 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
        resizeterm(size.ws_row, size.ws_col);
    clearok(curscr, TRUE);
}

/* Waits for a key or a signal. Gives false when the terminal is gone. */
static bool keys_wait(void)
{
    char drain[64];
    struct pollfd fds[] = {{.fd = fileno(keys), .events = POLLIN},
                           {.fd = wake[0], .events = POLLIN}};
    if (poll(fds, 2, -1) < 0)
        return errno == EINTR;
    while (read(wake[0], drain, sizeof drain) > 0)
        ;
    return !(fds[0].revents & (POLLHUP | POLLERR | POLLNVAL));
}

int screen_key(struct screen *screen, bool wait)
{
    for (int blank = 0; !caught; blank++) {
        wint_t code;
        if (resized) {
            size_follow();
            size_take(screen);
            return SCREEN_RESIZE;
        }
        int got = get_wch(&code);
        size_take(screen);
        if (got != ERR)
            return got == KEY_CODE_YES ? key_of(code) : character_of(code);
        if (!wait)
            return SCREEN_NONE;
        if (blank == BLANK_READS_MAX || !keys_wait())
            break;
    }
    return SCREEN_END;
}

/* ---------------------------------------------------------------------------------- drawing */

void screen_begin(void)
{
    erase();
    attrset(A_NORMAL);
}

void screen_show(void)
{
    curs_set(0);
    refresh();
}

void screen_show_at(int row, int col)
{
    move(row, col);
    curs_set(1);
    refresh();
}

void screen_redraw(void)
{
    clearok(curscr, TRUE);
}

void screen_move(int row, int col)
{
    at_row = row;
    at_col = col;
}

void screen_style(const struct screen *screen, enum style style, bool reversed)
{
    static const struct {
        attr_t attributes;
        short pair;
    } styles[] = {
        [STYLE_PLAIN] = {A_NORMAL, 0}, [STYLE_HEAD] = {A_BOLD, 0},    [STYLE_GROUP] = {A_BOLD, 1},
        [STYLE_DTYPE] = {A_NORMAL, 2}, [STYLE_SIZE] = {A_NORMAL, 3},  [STYLE_DIM] = {A_DIM, 0},
        [STYLE_ERROR] = {A_BOLD, 5},   [STYLE_WARNING] = {A_BOLD, 4}, [STYLE_NOTE] = {A_BOLD, 6},
    };
    attr_t attributes = styles[style].attributes;
    if (reversed) /* dim and reversed is hard to read */
        attributes = (attributes & ~A_DIM) | A_REVERSE;
    attr_set(attributes, screen->color ? styles[style].pair : 0, NULL);
}

/* Gives how many columns there are up to the end of the row, but no more than `width`; goes there. */
static int room_take(int width)
{
    int room = getmaxx(stdscr) - at_col;
    if (at_row < 0 || at_row >= getmaxy(stdscr) || at_col < 0 || room < 0)
        return 0;
    if (room > 0)
        move(at_row, at_col);
    return width < room ? width : room;
}

/* Writes what fits into `width` columns; gives those that it took. */
static int text_put(const char *text, size_t len, unsigned flags, int width)
{
    int used = 0, room = room_take(width), widthless = 0;
    struct text_piece piece;
    for (size_t i = 0; i < len && room > 0 && widthless < WIDTHLESS_MAX;) {
        i += text_escape(text + i, len - i, flags, &piece);
        widthless = piece.width ? 0 : widthless + 1;
        if (used + (int)piece.width > room)
            break;
        addnstr(piece.text, (int)piece.len);
        used += (int)piece.width;
    }
    at_col += used;
    return used;
}

int screen_text(const struct screen *screen, const char *text, size_t len, int width)
{
    return text_put(text, len, screen->text_flags, width);
}

int screen_escaped(const struct screen *screen, const char *text, size_t len, int width)
{
    return text_put(text, len, screen->text_flags | TEXT_KEEP_BACKSLASH, width);
}

int screen_blanks(int count, int width)
{
    int room = room_take(count < width ? count : width);
    for (int i = 0; i < room; i++)
        addch(' ');
    at_col += room > 0 ? room : 0;
    return room > 0 ? room : 0;
}

/* Gives the bytes of what stands in the first row of a broken text: whole words, if they fill more than half of it. */
static size_t row_break(const struct screen *screen, const char *text, size_t len)
{
    size_t i = 0, columns = 0, word = 0, word_columns = 0;
    size_t room = screen->cols > 0 ? (size_t)screen->cols : 1;
    struct text_piece piece;
    while (i < len) {
        size_t used =
            text_escape(text + i, len - i, screen->text_flags | TEXT_KEEP_BACKSLASH, &piece);
        /* A blank behind the last column is not drawn. */
        if (columns > 0 && columns + piece.width > room && text[i] != ' ')
            return word_columns > room / 2 ? word : i;
        i += used;
        columns += piece.width;
        if (text[i - used] == ' ') {
            word = i;
            word_columns = columns;
        }
    }
    return len;
}

void screen_broken(const struct screen *screen, const char *text, int row, int rows)
{
    size_t len = strlen(text);
    for (int end = row + rows; row < end; row++) {
        size_t part = row_break(screen, text, len);
        screen_move(row, 0);
        screen_escaped(screen, text, part, screen->cols);
        screen_blanks(screen->cols, screen->cols);
        text += part;
        len -= part;
    }
}

int screen_broken_rows(const struct screen *screen, const char *text)
{
    size_t len = strlen(text), at = 0;
    int rows = 0;
    do {
        at += row_break(screen, text + at, len - at);
        rows++;
    } while (at < len);
    return rows;
}
