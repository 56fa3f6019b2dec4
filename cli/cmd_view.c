/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors view: a browser of a file's tensors on the terminal. */
#include <stdlib.h>

#include "cmd.h"
#include "explain.h"
#include "input.h"
#include "opt.h"
#if ST_VIEW
# include "view.h"
#endif

struct view_options {
    struct common common;
    const char *filter;
    int sort; /* VIEW_BY_… of view_model.h */
    bool flat;
};

static const char *const sort_choices[] = {"name", "size", "offset", NULL};

static const struct opt view_options[] = {
    {OPT_TEXT, 'f', "filter", offsetof(struct view_options, filter), .arg = "WORDS",
     .help = "Begin with this filter, as if it had been typed: tensors whose names hold all of the "
             "words. A word without a capital finds capitals too."},
    {OPT_FLAG, 'l', "flat", offsetof(struct view_options, flat),
     .help = "Begin with a list instead of the tree."},
    {OPT_CHOICE, 's', "sort", offsetof(struct view_options, sort), .arg = "KEY",
     .choices = sort_choices,
     .help = "Begin ordered by name (the default), size (the largest first), or offset."},
    {0},
};

#if ST_VIEW
static int input_browse(const struct view_options *options, const struct input *input)
{
    st_error error;
    struct screen screen;
    struct view_start start = {.input = input,
                               .filter = options->filter,
                               .order = (enum view_order)options->sort,
                               .flat = options->flat};
    if (screen_open(&screen, options->common.color, &error) != ST_OK) {
        complain("%s; ls, show, stats, and meta get print what there is to see", error.message);
        return exit_of(error.status);
    }
    int code = view_run(&screen, &start);
    screen_close();
    return code;
}
#else
static int input_browse(const struct view_options *options, const struct input *input)
{
    (void)options;
    (void)input;
    complain("this program was built without ncurses, and so without view; ls, show, stats, and "
             "meta get print what there is to see");
    return EXIT_UNREADABLE;
}
#endif

static int view_main(const struct view_options *options, const char *path)
{
    st_error error;
    struct input input;
    st_status status = input_open(&input, path, &options->common, &error);
    int code = exit_of(status);
    if (status == ST_OK)
        code = input_browse(options, &input);
    else
        complain("%s", error.message);
    input_close(&input);
    return code;
}

static int explain_main(const struct view_options *options, const char *path)
{
    st_error error;
    struct input input;
    struct out out;
    struct json json, *document = options->common.json ? &json : NULL;
    out_open(&out, options->common.color);
    if (document) {
        json_open_files(document, &out);
        json_open_file(document, path);
    }
    st_status status = input_open(&input, path, &options->common, &error);
    if (status == ST_OK)
        status = explain_input(&(struct explain){.path = path, .out = &out, .json = document},
                               &input, &error);
    if (status != ST_OK)
        file_fail(&out, document, &error);
    if (document) {
        st_json_emit_object_end(document->emitter);
        json_close_files(document);
    }
    input_close(&input);
    return out_close(&out);
}

static int view_verb_run(const struct verb *verb, int argc, char **argv)
{
    struct view_options options = {0};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO && options.common.explain)
        code = explain_main(&options, args.at[0]);
    else if (code == OPT_GO && options.common.json)
        code = usage_error(verb, "what is drawn on a terminal is no document: ls, show, stats, and "
                                 "meta get have --json");
    else if (code == OPT_GO)
        code = view_main(&options, args.at[0]);
    free(args.at);
    return code;
}

const struct verb verb_view = {
    .name = "view",
    .brief = "Browse a file on the terminal",
    .about =
        "Shows the tensors as a tree by the dots in their names, with groups to open and close, "
        "and of each its values, of which only those in sight are read, its statistics with a "
        "histogram, and the file's metadata.\n\n"
        "Keys are those of less and vim: j, k, and the arrows move, Enter opens, q goes back and "
        "at last quits, / filters as you type by words that a name has to hold, n and N go to the "
        "next one and the previous, o orders by name, size, or offset, t turns the tree into a "
        "list, v "
        "shows values, s statistics, m metadata, i what the file is made of, and ? all keys.\n\n"
        "Nothing is written to the file. Standard output has to be a terminal, and keys are read "
        "from /dev/tty where standard input is none.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL}, {0}},
    .options = view_options,
    .examples =
        (const struct example[]){
            {"safetensors view model.safetensors", "Look around."},
            {"safetensors view --filter 'layers.3. weight' model.safetensors",
             "The weights of one layer."},
            {"safetensors view --flat --sort size model.safetensors", "The largest tensors first."},
            {0},
        },
    .reads_files = true,
    .reads_data = true,
    .run = view_verb_run,
};
