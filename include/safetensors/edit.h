/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Edits: a file made out of another, or of several, by changes.
 *
 * A st_edit is a list of changes to what a file holds: metadata set and removed, tensors renamed, dropped, cast,
 * replaced, taken in from other files, and the layout. Nothing is read or written while they are listed.
 * st_edit_write then writes the new file through a sink, in memory that does not grow with the data; bytes that do
 * not change are moved by the file system where it can (shared blocks, or a copy by the kernel). With a sink of
 * st_sink_open on the same path the old file is there until the new one is whole: a reader, or a crash at any
 * moment, sees one of the two.
 *
 *     st_edit *edit;
 *     st_sink *sink;
 *     st_error error;
 *     st_edit_new(file, NULL, &edit, &error);
 *     st_edit_rename(edit, st_file_find(file, "w", 1), "weight", 6, &error);
 *     st_sink_open(path, NULL, &sink, &error);
 *     st_edit_write(edit, sink, NULL, &error);
 *     st_sink_release(sink);
 *     st_edit_free(edit);
 *
 * st_edit_write_in_place is for files that are too large to be written anew: it changes bytes where they are. It is
 * not atomic for those who read the file meanwhile; a crash leaves a journal beside the file, by which
 * st_edit_recover restores it, byte for byte.
 */
#ifndef SAFETENSORS_EDIT_H
#define SAFETENSORS_EDIT_H

#include <safetensors/safetensors.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------- rules for names */

enum {
    /** The whole name against a pattern of `*` (any characters), `?` (one character), `[a-z]`, `[!a-z]`, and `\`
     *  before one that stands for itself. A name that is the pattern's very text matches too. */
    ST_NAME_GLOB = 0,
    /** A POSIX extended regular expression, found anywhere in the name, as the C library reads it. Some take it all
     *  time or memory there is: never one from a stranger. */
    ST_NAME_REGEX = 1,
    /** The text itself, found anywhere in the name; a replacement is as that of a regular expression. */
    ST_NAME_TEXT = 2,
    /** Added to one of these: large and small letters are the same, to a glob those of ASCII, else those of the
     *  process's locale. */
    ST_NAME_IGNORE_CASE = 0x100
};

/** Matches names, and makes new ones of those that match. Immutable: any thread may use it. */
typedef struct st_name_rule st_name_rule;

/**
 * Makes a rule.
 * @param kind         ST_NAME_…
 * @param replacement  of a glob: the new name, in which each `*` stands for what the `*` of the same number in the
 *                     pattern matched, as little as there can be from left to right. Of a regular expression: what
 *                     is put in place of each match, `\1` to `\9` standing for what its groups matched, `\0` for all
 *                     of it. In both, a character behind `\` stands for itself. NULL: the rule only matches.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT for a pattern that is none, or a replacement that refers to more
 *         than it has.
 */
ST_API ST_WARN_UNUSED st_status st_name_rule_new(const char *pattern, const char *replacement,
                                                 uint32_t kind, st_context *context,
                                                 st_name_rule **out, st_error *error);
/** Frees. NULL is fine. */
ST_API void st_name_rule_free(st_name_rule *rule);
/** Tells whether a name matches. To all but a glob a NUL in it is the character U+0001. @return ST_OK;
 *  ST_ERR_NOMEM. */
ST_API ST_WARN_UNUSED st_status st_name_rule_match(const st_name_rule *rule, const char *name,
                                                   size_t len, bool *out, st_error *error);
/**
 * Makes the new name of one that matches.
 * @param text  receives the name, terminated, if it fits `*size` bytes with that; NULL with `*size` 0 to ask.
 * @param size  receives the length of the new name, also where it does not fit.
 * @return ST_OK; ST_ERR_NOT_FOUND for a name that does not match; ST_ERR_BUFFER_SIZE; ST_ERR_NOMEM;
 *         ST_ERR_ARGUMENT for a rule that only matches.
 */
ST_API ST_WARN_UNUSED st_status st_name_rule_apply(const st_name_rule *rule, const char *name,
                                                   size_t len, char *text, size_t *size,
                                                   st_error *error);

/* ------------------------------------------------------------------------------- changes */

enum {
    ST_EDIT_ORDER_FILE = 0,      /**< as in the file, what was taken in behind */
    ST_EDIT_ORDER_CANONICAL = 1, /**< as ST_ORDER_CANONICAL */
    ST_EDIT_ORDER_NAME = 2       /**< by the bytes of the names */
};

/** Zero-initialise; NULL where one is asked for means the same. */
typedef struct st_edit_options {
    uint32_t order; /**< ST_EDIT_ORDER_… */
    /** Of the data section in the file: 8 to 4096, a power of 2. 0: as far behind a page of 4096 bytes as in the file
     *  that is edited, if that is a page's beginning or there are 1 MiB of data or more, so that file systems can
     *  share its blocks; else 8. */
    uint32_t alignment;
    uint64_t reserve;         /**< at least so many blanks in the header, room for later edits */
    uint64_t max_header_size; /**< 0: ST_HEADER_MAX */
    st_context *context;
    st_progress progress; /**< bytes of the new data section; of those written in place */
    uint64_t reserved[8];
} st_edit_options;

/**
 * The changes to one file. Refers to the files it was given, and to the tensors of their headers, which have to stay
 * open as long as it lives. For one thread at a time.
 */
typedef struct st_edit st_edit;

/**
 * Makes an edit that changes nothing yet: all tensors and all metadata of `file` are in.
 * @param file  NULL: begins with nothing, and no metadata.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT.
 */
ST_API ST_WARN_UNUSED st_status st_edit_new(const st_file *file, const st_edit_options *options,
                                            st_edit **out, st_error *error);
/** Frees. NULL is fine. */
ST_API void st_edit_free(st_edit *edit);

/** Sets a metadata entry, copied, in place of one of the same key. @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT
 *  for a key or value that is not UTF-8. */
ST_API ST_WARN_UNUSED st_status st_edit_set_metadata(st_edit *edit, const st_metadata *entry,
                                                     st_error *error);
/** Removes a metadata entry. @return ST_OK; ST_ERR_NOT_FOUND. */
ST_API ST_WARN_UNUSED st_status st_edit_remove_metadata(st_edit *edit, const char *key, size_t len,
                                                        st_error *error);
/** Removes all metadata, and `__metadata__` itself. */
ST_API void st_edit_clear_metadata(st_edit *edit);

/**
 * Gives a tensor another name, copied. That two tensors end up with one name is told by st_edit_look and
 * st_edit_write, so that names can be exchanged.
 * @param tensor  of a file of this edit, here and below; ST_ERR_NOT_FOUND if it is not, or was dropped.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_NOT_FOUND; ST_ERR_ARGUMENT for a name that is not UTF-8 or is "__metadata__".
 */
ST_API ST_WARN_UNUSED st_status st_edit_rename(st_edit *edit, const st_tensor *tensor,
                                               const char *name, size_t len, st_error *error);
/**
 * Renames every tensor that is in, as it is called by now, whose name matches a rule; all or none of them.
 * @param matched  NULL, or receives how many matched, whether the new name is another one or not.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT for a rule that only matches, or makes a name that cannot be one.
 */
ST_API ST_WARN_UNUSED st_status st_edit_rename_all(st_edit *edit, const st_name_rule *rule,
                                                   uint64_t *matched, st_error *error);
/** Leaves a tensor out. */
ST_API ST_WARN_UNUSED st_status st_edit_drop(st_edit *edit, const st_tensor *tensor,
                                             st_error *error);
/**
 * Converts a tensor to another dtype when it is written, as st_elements_cast does. The last one counts; the tensor's
 * own dtype undoes it.
 * @return also ST_ERR_UNSUPPORTED for a pair of dtypes that st_elements_cast does not convert; ST_ERR_MISALIGNED where
 *         it would not end at a byte boundary; ST_ERR_ARGUMENT for a tensor that is replaced.
 */
ST_API ST_WARN_UNUSED st_status st_edit_cast(st_edit *edit, const st_tensor *tensor, st_dtype dtype,
                                             st_error *error);
/**
 * Puts other data in a tensor's place, of any dtype and shape; its name stays. The description is copied, the memory is
 * the caller's and has to stay until the edit was written.
 * @return also ST_ERR_ARGUMENT; ST_ERR_DTYPE_UNKNOWN; ST_ERR_OVERFLOW; ST_ERR_MISALIGNED.
 */
ST_API ST_WARN_UNUSED st_status st_edit_replace(st_edit *edit, const st_tensor *tensor,
                                                const st_array *array, st_error *error);
/**
 * Takes a tensor of another file in, under a name of its own (`name` NULL: as it is). From then on it can be renamed,
 * dropped, cast and replaced as one of the file's. One that was dropped comes back this way, as it was at first.
 * @return also ST_ERR_NOT_FOUND for a tensor that is none of that file's; ST_ERR_ARGUMENT for one that is in already.
 */
ST_API ST_WARN_UNUSED st_status st_edit_include(st_edit *edit, const st_file *file,
                                                const st_tensor *tensor, const char *name,
                                                size_t len, st_error *error);
/** Adds a tensor out of memory: as st_edit_replace and st_edit_include. */
ST_API ST_WARN_UNUSED st_status st_edit_add(st_edit *edit, const char *name, size_t len,
                                            const st_array *array, st_error *error);

/* ------------------------------------------------------------------------------- writing */

/** What an edit comes to. */
typedef struct st_edit_summary {
    uint64_t size;    /**< of the new file, in bytes */
    uint64_t count;   /**< tensors in it */
    uint64_t renamed; /**< tensors, as the four below */
    uint64_t dropped;
    uint64_t cast;
    uint64_t replaced;
    uint64_t added; /**< taken in, or out of memory */
    uint64_t
        moved; /**< bytes of tensors that do not change: to be copied, or left where they are */
    uint64_t written; /**< bytes of tensors that do */
    uint64_t
        room; /**< bytes of header that could be used in place: the text and the blanks behind it */
    uint64_t header; /**< bytes that the header's text needs */
    uint64_t
        overflowed; /**< elements that the casts took beyond the range of their dtype; after writing */
    uint64_t underflowed; /**< that were not 0 and became 0 */
    bool in_place;        /**< st_edit_write_in_place can do it */
    uint8_t reserved0[7];
    uint64_t reserved[8];
} st_edit_summary;

/**
 * Tells what the changes come to, without reading or writing tensors.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_NAME_DUPLICATE; ST_ERR_OVERFLOW; ST_ERR_HEADER_TOO_LARGE.
 */
ST_API ST_WARN_UNUSED st_status st_edit_look(st_edit *edit, st_edit_summary *out, st_error *error);

/** Gives tensor `index` of the new file, in its order, after st_edit_look: name, dtype, shape, `begin` and `end`.
 *  NULL behind the last. Stays until the next change. */
ST_API const st_tensor *st_edit_at(const st_edit *edit, size_t index);
/** Gives the tensor that this one was, or whose place it takes, and its file unless `file` is NULL; NULL for one that
 *  was added out of memory, and behind the last. */
ST_API const st_tensor *st_edit_origin(const st_edit *edit, size_t index, const st_file **file);

/** Told of each tensor that was cast, as it is in its file: how many of its elements went out of range either way.
 *  False ends the writing with ST_ERR_STOPPED, and no file is made. */
typedef bool (*st_edit_cast_fn)(void *ctx, const st_tensor *tensor, uint64_t overflowed,
                                uint64_t underflowed);
/** Says who is told. */
ST_API void st_edit_on_cast(st_edit *edit, st_edit_cast_fn fn, void *ctx);

/**
 * Writes the new file through a sink, whole or not at all. An edit can be written again, elsewhere. Casts of large
 * tensors are made on as many threads as the contexts of the edit and of the tensor's file allow, unless the sink is
 * sequential; what is written and told is the same for any number. The caller is told on the thread that made the call.
 * Where the new file takes the place of one that the edit is made of, that one has to be there still, and unchanged: of
 * two edits at once the one that ends last is ST_ERR_CHANGED.
 * @param out  NULL, or receives what was done.
 * @return as st_edit_look, st_writer_begin, st_writer_copy_from and st_writer_finish; ST_ERR_STOPPED; ST_ERR_CHANGED.
 */
ST_API ST_WARN_UNUSED st_status st_edit_write(st_edit *edit, st_sink *sink, st_edit_summary *out,
                                              st_error *error);

/**
 * Changes the file itself: metadata and names where the header has room for them, and the bytes of tensors that were
 * replaced by as many. Takes milliseconds for metadata and names, whatever the file's size; the bytes of a tensor are
 * written three times. What is overwritten is kept in a journal beside the file ("NAME.st-journal", docs/journal.md)
 * first, with what takes its place, and made durable; where there is no room for that the file is unchanged. It is
 * removed when the new bytes are durable. A crash in between leaves it there: the next edit in place of this path,
 * st_sink_open of it, or st_edit_recover puts the old bytes back. Until then the file may be one that does not open, and
 * no other file is made of it.
 *
 * Who reads the file meanwhile may see some of the new bytes and not others. Mappings show them, and so do other hard
 * links. A writer to the same file is kept out by a lock (ST_ERR_IO, EAGAIN) where the file system has locks. The
 * edit's own file has changed then: what reads it afterwards opens it again.
 *
 * @param path  of the file that the edit was made of; ST_ERR_CHANGED if another one is there, or comes there meanwhile,
 *              or it changed. An older journal is recovered from first, as st_edit_recover does.
 * @return ST_OK; ST_ERR_NO_ROOM with both numbers where the header does not fit, or data would have to move;
 *         ST_ERR_UNSUPPORTED for what is no regular file, or lies in the store of a hub cache, which others share;
 *         ST_ERR_ARGUMENT for an edit of no file; ST_ERR_JOURNAL; ST_ERR_IO; ST_ERR_NOMEM; ST_ERR_STOPPED, before
 *         anything is overwritten; as st_edit_look. After ST_ERR_IO the old bytes are in place, or the new ones are,
 *         or the journal is left; the message says which.
 */
ST_API ST_WARN_UNUSED st_status st_edit_write_in_place(st_edit *edit, const char *path,
                                                       st_edit_summary *out, st_error *error);

/**
 * Tells what st_edit_write_in_place would come to, as far as it depends on the changes, and changes nothing: neither the
 * file nor what is beside it is looked at.
 * @param out  NULL, or receives what would be done.
 * @return ST_OK; ST_ERR_NO_ROOM and ST_ERR_ARGUMENT, as that call gives them; as st_edit_look.
 */
ST_API ST_WARN_UNUSED st_status st_edit_look_in_place(st_edit *edit, st_edit_summary *out,
                                                      st_error *error);

/* ------------------------------------------------------------------------------ recovery */

enum {
    ST_RECOVERY_NONE = 0,       /**< there is no journal */
    ST_RECOVERY_UNFINISHED = 1, /**< one that was not finished: nothing has been overwritten */
    ST_RECOVERY_FOREIGN = 2,    /**< one of a file that is no longer there */
    ST_RECOVERY_FORWARD = 3,    /**< all new bytes are there; to make them durable was left */
    ST_RECOVERY_BACK = 4        /**< old bytes are to be put back */
};

/** What an edit in place has left beside a file. */
typedef struct st_recovery {
    uint32_t action; /**< ST_RECOVERY_… */
    uint32_t reserved0;
    uint64_t stretches; /**< of the file, whose bytes the journal has; 0 but for the last two */
    uint64_t size;      /**< bytes in them */
    uint64_t reserved[6];
} st_recovery;

/**
 * Tells what st_edit_recover would do, and changes nothing. An edit that is under way looks like one that was
 * interrupted.
 * @return as st_edit_recover.
 */
ST_API ST_WARN_UNUSED st_status st_recovery_look(const char *path, st_context *context,
                                                 st_recovery *out, st_error *error);

/**
 * Puts back what an edit in place that did not come to its end had overwritten. One that had overwritten all is ended
 * instead. In both cases the file is durable before the journal is removed, and the file's times are those of now.
 * @param recovered  receives whether old bytes were put back; may be NULL. A journal that was not finished, or is of
 *                   another file, restores nothing and is removed.
 * @return ST_OK; ST_ERR_IO, with EAGAIN while an edit is under way; ST_ERR_NOMEM; ST_ERR_JOURNAL for one that is
 *         damaged, or of which it cannot be told that the file is still the one that it is of: both are left as they
 *         are; ST_ERR_CHANGED where the file was replaced meanwhile.
 */
ST_API ST_WARN_UNUSED st_status st_edit_recover(const char *path, st_context *context,
                                                bool *recovered, st_error *error);

#ifdef __cplusplus
}
#endif

#endif
