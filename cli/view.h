/* SPDX-License-Identifier: Apache-2.0 */
/* The browser: a tree of tensors, and panes in its place that show one of them, the metadata, the file, or help. */
#ifndef CLI_VIEW_H
#define CLI_VIEW_H

#include <safetensors/inspect.h>

#include "input.h"
#include "view_model.h"
#include "view_screen.h"
#include "view_text.h"
#include "view_values.h"

enum view_pane { VIEW_TREE, VIEW_VALUES, VIEW_STATS, VIEW_METADATA, VIEW_FACTS, VIEW_HELP };

struct view {
    struct screen screen;
    const struct input *input;
    struct view_model model; /* its files are those of the input */
    enum view_pane pane;
    enum view_pane behind; /* the help */
    uint32_t top;          /* the tree's first row to be seen */
    uint32_t page;         /* its rows on the screen */
    char prompt;           /* '/' or ':', with what is typed behind it; 0: nothing is */
    struct view_typed filter;
    struct view_typed command;
    size_t search_top; /* the line where a search began */
    bool search_lost;  /* what is looked for is not there */
    struct view_values values;
    struct view_text text; /* statistics, metadata, facts */
    struct view_text help;
    st_stats stats;          /* of the tensor at hand */
    bool log;                /* bars of the histogram are as long as logarithms */
    uint64_t progress_drawn; /* when, by progress_now */
    uint64_t number;         /* typed before a key; 0: none */
    int first;               /* the first of two keys that mean something together; 0: none */
    char message[512];
    enum style message_style;
    bool over;
};

/* What there is to see, and how it is seen at first. */
struct view_start {
    const struct input *input;
    const char *filter; /* NULL: none */
    enum view_order order;
    bool flat;
};

/* Shows it on the screen that is open, until the user has seen enough. Gives the exit code. */
int view_run(const struct screen *screen, const struct view_start *start);
/* Draws everything. */
void view_draw(struct view *view);

/* Says something in the last row, up to the next key; names in it are escaped. */
void view_say(struct view *view, enum style style, const char *format, ...) CLI_PRINTF(3, 4);
/* Gives the tensor at hand, and its file; NULL, having said so, where there is none that has values. */
const st_tensor *view_tensor(struct view *view, const st_file **file);

/* The rows between the title and what stands below. */
struct view_body {
    int first;
    int rows;
};
struct view_body view_body(const struct view *view);
/* Draws the last row: the message, which may take more rows, or else `text`. */
void view_last_row(const struct view *view, const char *text);
/* The shape of a tensor; longer ones are cut. */
struct view_shape {
    char text[64];
};
struct view_shape view_shape(const st_tensor *tensor);
/* Draws the first row: a name on the left, cut at its beginning, and `right` on the right. */
void view_title(const struct view *view, const char *name, size_t len, const char *right);
/* Writes text of a file into so many columns, and fills them; what does not fit is left out, at the end or at the
 * beginning. */
void view_cell(const struct screen *screen, const char *text, size_t len, int width,
               bool cut_front);

/* The same for a name, cut at its beginning, and for one without characters, which is shown as "". */
void view_name_cell(const struct screen *screen, const char *name, size_t len, int width);
size_t view_name_width(const struct screen *screen, const char *name, size_t len);
/* Draws the first row for the tensor at hand. */
void view_tensor_title(const struct view *view, const char *what);

void view_tree_draw(struct view *view);
/* Takes a key; false: it means nothing here. */
bool view_tree_key(struct view *view, int key, uint64_t number);
/* Puts the row at hand at the top of the screen (t), in the middle (z), at the bottom (b). */
bool view_tree_place(struct view *view, int key);
uint32_t view_tensors_shown(const struct view_model *model);
/* Opens or closes the group at hand, or goes into it; false: it is to be opened as a tensor. */
bool view_tree_open(struct view *view, int key);

/* Begins to take what is typed behind '/' or ':'; false: that means nothing here. */
bool view_prompt_open(struct view *view, int key);
void view_prompt_key(struct view *view, int key);
/* Draws it into the last row and gives the column of the cursor. */
int view_prompt_draw(struct view *view);
/* Filters by words; "" shows all tensors again. */
void view_filter_set(struct view *view, const char *text);
/* Goes to where what is looked for stands next, in a text; false: it is no such key, or no such text. */
bool view_search_key(struct view *view, int key);
/* Gives a key to what is seen; false: it means nothing there. */
bool view_pane_key(struct view *view, int key, uint64_t number);
void view_help_open(struct view *view);

/* Measures the tensor at hand and prints what it came to. False, having said so, where that failed or was stopped. */
bool view_stats_open(struct view *view);
/* Prints it anew, for a screen of other columns. */
void view_stats_print(struct view *view, bool again);
/* Takes a key that changes the histogram; false: it is no such key, or there is none. */
bool view_stats_key(struct view *view, int key);
void view_metadata_print(struct view *view);
void view_facts_print(struct view *view);
void view_help_print(struct view *view, bool again);

#endif
