/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A verb is one file: its options as a table, its arguments as a table, its text, and its function.
 * The parser, --help, the man pages and the completions read the tables; main.c lists the verbs.
 */
#ifndef CLI_VERB_H
#define CLI_VERB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opt_kind {
    OPT_NONE,   /* ends a table */
    OPT_FLAG,   /* bool: becomes true */
    OPT_SET,    /* int: becomes `value` */
    OPT_TEXT,   /* const char * */
    OPT_FILE,   /* const char *: a path */
    OPT_NUMBER, /* uint64_t */
    OPT_SIZE,   /* uint64_t: bytes, with a unit or none */
    OPT_CHOICE, /* int: index into `choices` */
    OPT_LIST,   /* struct opt_list: may be given again */
    OPT_STEP /* the same, the option's name before each value: options that share a list keep their order */
};

struct opt {
    enum opt_kind kind;
    char letter;      /* of the short option; 0: none */
    const char *name; /* of the long option, without the dashes */
    size_t field;     /* where the value goes, counted from the start of the verb's options */
    const char *help;
    const char *arg;            /* what help calls the value */
    const char *const *choices; /* OPT_CHOICE: ended by NULL */
    int value;                  /* OPT_SET */
};

struct opt_list {
    const char **at;
    size_t count;
    size_t room;
};

/* What every verb's options begin with. */
struct common {
    bool help;
    bool json;
    bool upstream;
    bool unknown_dtypes;
    bool explain; /* of verbs that read data */
    int color;    /* COLOR_… of out.h */
    int io;       /* ST_IO_… */
};

enum arg_kind { ARG_NONE, ARG_FILE, ARG_TENSOR, ARG_KEY, ARG_VERB, ARG_WORD, ARG_DIRECTORY };
enum { ARG_OPTIONAL = 1, ARG_MANY = 2 };

struct arg {
    enum arg_kind kind;
    const char *name;
    unsigned flags;             /* ARG_OPTIONAL, ARG_MANY: only the last one */
    const char *const *choices; /* ARG_WORD: what completes it, ended by NULL; or NULL */
};

struct example {
    const char *command;
    const char *what;
};

struct verb {
    const char *name;  /* "ls", or "meta get" for one of a group */
    const char *brief; /* one line, in the imperative, without a full stop */
    const char *about; /* paragraphs, with an empty line between */
    const struct arg *args;
    const struct opt *options;
    const struct example *examples;
    const struct opt *picks; /* filter_rows, or a table shared with another verb; or NULL */
    bool reads_files;        /* takes the options that all such verbs have */
    bool reads_data;         /* and tensors' bytes: those of such verbs */
    bool hidden;             /* from help */
    int (*run)(const struct verb *verb, int argc, char **argv);
};

/* The program itself, as if it were a verb without a name. */
extern const struct verb verb_main;

/* Gives the verbs, ended by NULL. */
const struct verb *const *verb_list(void);
/* Finds "ls", or "meta", "get"; NULL if there is none. `word2` may be NULL. `words` receives 1 or
 * 2. */
const struct verb *verb_find(const char *word, const char *word2, int *words);
/* Gives what stands for the verbs whose first word is `word`: a name and arguments, no more. False
 * if there are none. */
bool verb_find_group(const char *word, struct verb *out);

#endif
