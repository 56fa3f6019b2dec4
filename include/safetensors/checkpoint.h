/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Checkpoints: many files as one.
 *
 * A model too large for one file lies in several ("shards"), beside an index, "model.safetensors.index.json", that names
 * the shard of each tensor. A st_checkpoint is such a folder, an index, or a single file, opened: its tensors are
 * found by name, wherever they lie. st_split makes shards of a checkpoint as huggingface_hub does, to the byte
 * of the index; st_checkpoint_merge makes one file of it, st_checkpoint_cat one of several; a st_checkpoint_edit changes
 * its files and the index with them.
 *
 * Files are opened when the checkpoint is, and read and checked as st_file_open does. Their descriptors come out of the
 * context's budget, so that thousands of shards can be open.
 */
#ifndef SAFETENSORS_CHECKPOINT_H
#define SAFETENSORS_CHECKPOINT_H

#include <safetensors/edit.h>
#include <safetensors/finding.h>
#include <safetensors/safetensors.h>
#include <safetensors/salvage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -------------------------------------------------------------------------------- opening */

/** Files that together hold tensors of different names. Immutable; may be read from any thread. */
typedef struct st_checkpoint st_checkpoint;

/**
 * Opens one.
 * @param path     a safetensors file; an index (its name ends in ".json", or does not end in ".safetensors" and its
 *                 text is JSON); or a folder: that of the one index in it ("*.safetensors.index.json" and
 *                 "*.safetensors.index.VARIANT.json"), else of all "*.safetensors" in it, ordered by name. Names that
 *                 begin with a dot are passed over. An index without "weight_map" is itself the map.
 * @param options  of every file, but for `name`, which is that of a single one; `max_header_size` holds for the index
 *                 too. NULL: the defaults. Without a context the checkpoint makes one of its own.
 * @return ST_OK; ST_ERR_IO (which names the shard that is not there, and the index), ST_ERR_NOMEM; ST_ERR_NOT_FOUND for
 *         a folder without any; ST_ERR_ARGUMENT for one with several indices, which are named; ST_ERR_JSON with the
 *         offset for an index that is none; ST_ERR_SHARD_NAME for one that names a file outside of its folder, or that
 *         does not end in ".safetensors"; ST_ERR_SHARD_TENSOR for a tensor that its shard does not hold;
 *         ST_ERR_NAME_DUPLICATE for a tensor in two files of a folder without an index, or twice in an index, and
 *         ST_ERR_METADATA_DUPLICATE for a key so; ST_ERR_OVERFLOW; and, of each file, what st_file_open gives.
 *         Offsets are those of the index for what it is to blame for.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_open(const char *path, const st_open_options *options,
                                                   st_checkpoint **out, st_error *error);
/** Closes all files. NULL is fine. */
ST_API void st_checkpoint_close(st_checkpoint *checkpoint);

/** Gives the path it was opened by. */
ST_API const char *st_checkpoint_name(const st_checkpoint *checkpoint);
/** Gives the path of its index; NULL: it has none. */
ST_API const char *st_checkpoint_index(const st_checkpoint *checkpoint);

/** Gives the number of files: those the index names, in the order of their names. */
ST_API size_t st_checkpoint_file_count(const st_checkpoint *checkpoint);
/** Gives file `index`, open, borrowed. */
ST_API const st_file *st_checkpoint_file(const st_checkpoint *checkpoint, size_t index);
/** Gives its name within the folder of the checkpoint ("model-00001-of-00002.safetensors"). */
ST_API const char *st_checkpoint_file_name(const st_checkpoint *checkpoint, size_t index);

/** A tensor, and the file it lies in. */
typedef struct st_checkpoint_tensor {
    const st_tensor *tensor;
    const st_file *file;
    size_t file_index;
    uint64_t reserved[2];
} st_checkpoint_tensor;

/** Gives the number of tensors: of an index, those it names. */
ST_API size_t st_checkpoint_count(const st_checkpoint *checkpoint);
/** Gives tensor `index`, ordered by file, and within one by offset. */
ST_API st_checkpoint_tensor st_checkpoint_at(const st_checkpoint *checkpoint, size_t index);
/** Finds one by name; false: it is not there. */
ST_API bool st_checkpoint_find(const st_checkpoint *checkpoint, const char *name, size_t len,
                               st_checkpoint_tensor *out);
/** Gives the bytes of all tensors. */
ST_API uint64_t st_checkpoint_data_size(const st_checkpoint *checkpoint);

/** Gives the number of metadata entries: those of the file, or, of several, those that all have alike; behind them, and
 *  instead of those of the same key, the "metadata" of an index without "total_size" and "total_parameters", what is no
 *  string as it stands there. */
ST_API size_t st_checkpoint_metadata_count(const st_checkpoint *checkpoint);
/** Gives entry `index`. */
ST_API const st_metadata *st_checkpoint_metadata_at(const st_checkpoint *checkpoint, size_t index);

/* -------------------------------------------------------------------------------- checking */

/** The rules that an index can break, or a folder without one: their number, and each one by its index, 0 .. count-1; NULL
 *  behind the last. Those of files are st_rule_at's. */
ST_API size_t st_checkpoint_rule_count(void);
ST_API const st_rule *st_checkpoint_rule_at(size_t index);

/** A file of a checkpoint that is being checked. Valid during the callback. */
typedef struct st_checkpoint_shard {
    const char *name;    /**< in the folder of the checkpoint */
    const char *path;    /**< that it was opened by */
    st_source *source;   /**< borrowed, for st_check; NULL: it cannot be read */
    const st_error *why; /**< why it cannot be read, or what is wrong with it; NULL: nothing is */
    uint64_t reserved[4];
} st_checkpoint_shard;

/** What a check of a checkpoint saw. */
typedef struct st_checkpoint_summary {
    uint64_t errors; /**< findings: of the index or the folder, not of the files */
    uint64_t warnings;
    uint64_t notes;
    uint64_t indices;       /**< found, or named by the path */
    uint64_t index_size;    /**< bytes of the index */
    uint64_t files;         /**< that the index names, or that are in the folder */
    uint64_t files_refused; /**< those that st_file_open takes for no valid files */
    uint64_t tensors;       /**< that the index names, or that are in the files */
    uint64_t reserved[8];
} st_checkpoint_summary;

/** Who is told during a check, on the caller's thread. A callback that is NULL is not called; false ends the check. */
typedef struct st_checkpoint_observer {
    /** Receives each deviation. `path` is that of the index, or of the folder, and offsets are those of the index. */
    bool (*finding)(void *ctx, const char *path, const st_finding *finding);
    /** Receives each file that is there, before it is compared with the index. Without this one a file that cannot be
     *  read ends the check. */
    bool (*shard)(void *ctx, const st_checkpoint_shard *shard);
    /** Called when all has been found of an index, a folder or a file; `summary` is of this one. */
    bool (*end)(void *ctx, const char *path, const st_checkpoint_summary *summary);
    void *ctx;
    uint64_t reserved[4];
} st_checkpoint_observer;

/**
 * Checks what makes one of many files, by the parser that st_checkpoint_open uses, going on behind each
 * deviation: the index, that the files it names are there and hold what it says, and nothing else; of a folder without
 * one, that each tensor is in one file. Of several indices in a folder, which are a deviation themselves, each is
 * checked. Files are opened in turn, each once, and closed again; the headers of a folder without an index are kept
 * meanwhile. No tensor is read, and no file outside of the folder that the path is in, but by a link.
 *
 * There are findings of severity error, or files that cannot be used, just where st_checkpoint_open gives an error.
 * @param path      as st_checkpoint_open's; a file has no findings here.
 * @param options   as st_checkpoint_open's, but for `name`, which is not used.
 * @param observer  NULL: only count.
 * @param out       sums of all that was checked; NULL: not wanted.
 * @return ST_OK when the check ran, whatever it found; ST_ERR_IO and what else st_source_open and st_source_read give;
 *         ST_ERR_NOT_FOUND for a folder without any; ST_ERR_ARGUMENT; ST_ERR_NOMEM; ST_ERR_STOPPED if a callback ended
 *         it, or, where that was told of a file that cannot be read, why.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_check(const char *path,
                                                    const st_open_options *options,
                                                    const st_checkpoint_observer *observer,
                                                    st_checkpoint_summary *out, st_error *error);

/* ------------------------------------------------------------------------------- salvage */

/** A file of a damaged checkpoint, or its index. Valid during the callback. */
typedef struct st_checkpoint_salvage_part {
    const char *path;   /**< of the damaged one */
    const char *target; /**< of the new one; NULL where no folder was named */
    /** What was saved, once it was; of the index what it has amiss, and the `size` of the new one, 0 where none was
     *  written. NULL: it has only begun, or it failed. */
    const st_salvage_summary *summary;
    const st_error *why; /**< why it failed; NULL: it did not */
    bool index;          /**< it is the index */
    uint8_t reserved0[7];
    uint64_t reserved[4];
} st_checkpoint_salvage_part;

/** Receives the beginning or the end of one; false ends the salvage. Called on the caller's thread. */
typedef bool (*st_checkpoint_salvage_fn)(void *ctx, const st_checkpoint_salvage_part *part);

/** How to salvage. Zero-initialise; NULL where one is asked for means the same. A callback that is NULL is not called. */
typedef struct st_checkpoint_salvage_options {
    st_checkpoint_salvage_fn begin; /**< called before the items of each */
    st_salvage_fn item;             /**< of the one that has begun */
    /** Called behind its items, whatever became of it. Of a file that cannot be read, and of an index that cannot be
     *  made, true goes on without it; without this callback, that ends the salvage. What cannot be written does in any
     *  case. */
    st_checkpoint_salvage_fn end;
    void *ctx;
    /** Bytes of the damaged files. While these are looked for, none of them is done, and there may be more. */
    st_progress progress;
    uint32_t durability; /**< ST_DURABLE_… */
    bool dry_run;        /**< nothing is written; the folder is looked at if it is named */
    uint8_t reserved0[3];
    uint64_t reserved[8];
} st_checkpoint_salvage_options;

/** What was saved of a checkpoint. */
typedef struct st_checkpoint_salvage_summary {
    st_salvage_summary
        sum; /**< of all files, and of what the index has amiss; `size` without that of the new index */
    uint64_t files;      /**< that were written, or would be */
    uint64_t files_lost; /**< that are there, and of which nothing can be saved */
    uint64_t
        files_failed; /**< that the callback `end` was told of a failure of, and went on without */
    bool index;       /**< it has an index, which was made anew, or would be */
    uint8_t reserved0[7];
    uint64_t reserved[8];
} st_checkpoint_salvage_summary;

/**
 * Saves what can be saved of a damaged checkpoint into a folder: of each file that is there, in the order of their names,
 * what st_salvage saves of it, under its own name; and, of what is there then, a new index, if there was one. The files
 * are those that the index names; where nothing of it can be read, all "*.safetensors" beside it. What
 * st_checkpoint_check finds in the old index is told behind the files: as lost, if it is an error, otherwise as changed.
 * The new index names every tensor that was saved. Of the old one it takes over the metadata, as they stand there, unless
 * the text is no index; "total_size" is made right, and "total_parameters" kept if the new one names the same tensors.
 * What all files have alike in their metadata stands there too.
 *
 * After a failure nothing is left of what was written, and no folder that was made for it; after a crash there may be
 * files, and no index.
 * @param path     of a folder, an index or a file, as st_checkpoint_open's.
 * @param options  as st_checkpoint_open's, but for `name`, which is not used.
 * @param folder   is made if it is not there, and has to be empty if it is; stays away where nothing can be saved. NULL:
 *                 for a dry run.
 * @param out      may be NULL.
 * @return ST_OK when all was looked through, whatever was found; ST_ERR_ARGUMENT for a folder that is not empty, for one
 *         with several indices, and for two files of one name in different folders; ST_ERR_NOT_FOUND where no file is
 *         there; ST_ERR_STOPPED by a callback; as st_checkpoint_check, st_salvage, and st_sink_open.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_salvage(const char *path,
                                                      const st_open_options *options,
                                                      const char *folder,
                                                      const st_checkpoint_salvage_options *salvage,
                                                      st_checkpoint_salvage_summary *out,
                                                      st_error *error);

/* -------------------------------------------------------------------------------- sizes */

enum {
    /** As huggingface_hub reads them: KB, MB, GB, TB in any case and no other, behind whatever Python's float() takes
     *  for a number. */
    ST_SIZE_HUB = 1
};

/**
 * Reads a size in bytes: digits, with or without a fraction, and a unit: none, B, KB, MB, GB, TB (by 1000), KiB, MiB,
 * GiB, TiB (by 1024), in any case. A lower-case b right behind K, M, G or T means bits to some programs and bytes to
 * others, and is refused. Blanks may stand around both. What is less than a byte is cut off.
 * @param flags  0 or ST_SIZE_HUB.
 * @return ST_OK; ST_ERR_ARGUMENT.
 */
ST_API ST_WARN_UNUSED st_status st_size_parse(const char *text, size_t len, uint32_t flags,
                                              uint64_t *out, st_error *error);

/* ------------------------------------------------------------------------------ splitting */

/** How to split. Zero-initialise; NULL where one is asked for means the same. Not both of a size and a count. */
typedef struct st_split_options {
    uint64_t
        max_shard_size; /**< bytes of tensors; 0: 5,000,000,000, unless `shard_count` is given */
    uint64_t
        shard_count; /**< 0: as many as it takes; else the least size that makes at most so many */
    /** Of the files' names, "-00001-of-00003" in the place of each "{suffix}"; NULL: "model{suffix}.safetensors". */
    const char *pattern;
    uint32_t durability; /**< ST_DURABLE_… */
    uint32_t flags;      /**< ST_SINK_… */
    uint32_t alignment;  /**< as st_writer_options */
    bool clean;          /**< what st_split_stale tells goes, once all is written */
    uint8_t reserved0[3];
    st_context *context;  /**< NULL: the checkpoint's */
    st_progress progress; /**< bytes of all data sections */
    uint64_t reserved[8];
} st_split_options;

/** A shard to be. */
typedef struct st_shard {
    const char *name; /**< of its file */
    uint64_t size;    /**< bytes of its tensors */
    size_t first;     /**< its first tensor, in the order of st_split_tensor */
    size_t count;     /**< tensors */
    uint64_t reserved[2];
} st_shard;

/** Which tensor goes into which shard. Pure until it is written. Refers to the checkpoint. */
typedef struct st_split st_split;

/**
 * Plans shards: tensors in the checkpoint's order, each in the shard being filled, unless it does not fit, and one larger
 * than the limit in a shard of its own, numbered before the one being filled. Tensors without any bytes follow the
 * first such: huggingface_hub's rule for a state dict of this order. The metadata go into the index, but for
 * "format", which goes into each shard; into the file, if there is one only. A checkpoint without tensors is one
 * empty file.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT for a pattern without "{suffix}", with other braces, or that makes
 *         names that no shard may have.
 */
ST_API ST_WARN_UNUSED st_status st_split_new(const st_checkpoint *checkpoint,
                                             const st_split_options *options, st_split **out,
                                             st_error *error);
/** Frees. NULL is fine. */
ST_API void st_split_free(st_split *split);
/** Gives the number of shards; of one there is no index, and its name has no suffix. */
ST_API size_t st_split_count(const st_split *split);
/** Gives shard `index`. */
ST_API st_shard st_split_at(const st_split *split, size_t index);
/** Gives tensor `index`, shard by shard. */
ST_API st_checkpoint_tensor st_split_tensor(const st_split *split, size_t index);
/** Gives the index's text, as huggingface_hub writes it; NULL for one shard. */
ST_API const char *st_split_index_text(const st_split *split, size_t *len);
/** Gives the index's name ("model.safetensors.index.json"); NULL for one shard. */
ST_API const char *st_split_index_name(const st_split *split);

/** Receives a file's name; false ends the telling. Called on the caller's thread. */
typedef bool (*st_split_stale_fn)(void *ctx, const char *name);

/**
 * Tells what an older split has left in a folder: in the order of their names, files that are called as one of several
 * shards of this pattern would be, and that are none of these shards. A link counts as a file, whatever it leads to.
 * @param folder  need not be there.
 * @return ST_OK; ST_ERR_IO; ST_ERR_NOMEM; ST_ERR_STOPPED by the callback.
 */
ST_API ST_WARN_UNUSED st_status st_split_stale(const st_split *split, const char *folder,
                                               st_split_stale_fn fn, void *ctx, st_error *error);

/**
 * Writes the shards into a folder, which is made if it is not there, each in the canonical order, and the index; all of
 * them or none, as st_checkpoint_edit_write does, by a list of the index's name. Any of the places may be one of a file
 * that the checkpoint itself lies in; what is open is then the old checkpoint, of which the files that were replaced are
 * no longer to be read: open it again. Of one shard there is no index, and one of its name that is there is removed; where
 * numbered shards of the same pattern are there, nothing is written, because without an index they would count as parts
 * of the one. Beside an index, shards that it does not name are left alone. With `clean` they go, last, and are not in the
 * way.
 *
 * What an interrupted edit has left in the folder is ended before.
 * @return ST_OK; ST_ERR_ARGUMENT where numbered shards are in the way; ST_ERR_IO, with EEXIST under ST_SINK_NEW for any
 *         name that is taken, and with EAGAIN while an edit of files of the folder is under way; ST_ERR_JOURNAL for one
 *         that cannot be ended; ST_ERR_CHANGED for files in the folder that are no longer those that were opened;
 *         ST_ERR_UNSUPPORTED for two shards that would be one file; as st_writer_begin, st_writer_copy_from and
 *         st_writer_finish.
 */
ST_API ST_WARN_UNUSED st_status st_split_write(const st_split *split, const char *folder,
                                               st_error *error);

/**
 * Makes an edit of all tensors and metadata of a checkpoint, to be changed further and written as one file by
 * st_edit_write. The checkpoint has to stay open as long.
 * @return as st_edit_new.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_merge(const st_checkpoint *checkpoint,
                                                    const st_edit_options *options, st_edit **out,
                                                    st_error *error);

/* --------------------------------------------------------------------------- concatenating */

enum {
    ST_CAT_METADATA_SAME = 0,  /**< a key that several inputs have has one value */
    ST_CAT_METADATA_FIRST = 1, /**< of such a key the first one's value is taken */
    ST_CAT_METADATA_NONE = 2   /**< no metadata */
};

/** One of the checkpoints that become one file. Zero-initialise. */
typedef struct st_cat_input {
    const st_checkpoint *checkpoint;
    const char *prefix; /**< what comes before the names of its tensors; UTF-8 */
    size_t prefix_len;  /**< bytes of it; 0: none */
    uint64_t reserved[2];
} st_cat_input;

/** Zero-initialise; NULL where one is asked for means the same. */
typedef struct st_cat_options {
    uint32_t metadata; /**< ST_CAT_METADATA_… */
    uint32_t reserved0;
    uint64_t reserved[8];
} st_cat_options;

/**
 * Makes an edit of the tensors of several checkpoints, one behind the other, and of their metadata, to be changed
 * further and written as one file by st_edit_write. The checkpoints have to stay open as long, and the inputs need not
 * stay. A name that two of them have, prefixes included, is an error: the first such, in their order.
 *
 * To have the same tensors in twice, under two prefixes, the file has to be opened twice and without a context, or with
 * two: one context may let both share a header, and with it the tensors.
 * @param count         of the inputs; 0 makes an edit of nothing.
 * @param edit_options  as st_edit_new's.
 * @return as st_edit_new; ST_ERR_NAME_DUPLICATE and ST_ERR_METADATA_DUPLICATE, which name both inputs and the tensor or
 *         the key; ST_ERR_ARGUMENT for options that are none, for a prefix that is not UTF-8 or too long, and for a
 *         tensor that is in already.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_cat(const st_cat_input *inputs, size_t count,
                                                  const st_cat_options *options,
                                                  const st_edit_options *edit_options,
                                                  st_edit **out, st_error *error);

/* -------------------------------------------------------------------------------- editing */

/** The changes to a checkpoint: one st_edit for each of its files, and the index that follows from them. Refers to the
 *  checkpoint, which has to stay open as long. For one thread at a time. */
typedef struct st_checkpoint_edit st_checkpoint_edit;

/**
 * Makes an edit that changes nothing yet.
 * @param options  of each file; `progress` counts the bytes of all data sections that are written. Without a context
 *                 that of the checkpoint is taken.
 * @return as st_edit_new.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_edit_new(const st_checkpoint *checkpoint,
                                                       const st_edit_options *options,
                                                       st_checkpoint_edit **out, st_error *error);
/** Frees, and the edits of the files with it. NULL is fine. */
ST_API void st_checkpoint_edit_free(st_checkpoint_edit *edit);
/** Gives the edit of file `index`, borrowed, to be changed by what edit.h has; what it takes in goes into that file. It is
 *  written by the calls below only. */
ST_API st_edit *st_checkpoint_edit_at(const st_checkpoint_edit *edit, size_t index);

/**
 * Tells what the changes of all files come to: st_edit_look's numbers, added up, without the files that go; `in_place`
 * where it can be done so in every file.
 * @return as st_edit_look; ST_ERR_NAME_DUPLICATE also for two tensors of one name in two files, of which an index would
 *         name both; ST_ERR_OVERFLOW.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_edit_look(st_checkpoint_edit *edit,
                                                        st_edit_summary *out, st_error *error);

/**
 * Writes the new files, and the index, all of them or none.
 *
 * In the place of the old ones (`folder` NULL, or that of the checkpoint) the files that change are written beside the
 * old ones first, of which a list is kept ("INDEX.st-journal", without an index "checkpoint.st-journal";
 * docs/journal.md). When all are whole the list is made durable, and only then does any take its place, the index last.
 * A failure or a crash before that leaves the old checkpoint; one behind it leaves the list, by which the next such
 * edit, or st_checkpoint_recover, goes on to the end. A reader that opens the checkpoint while the files take their
 * places may find some of the new ones and not others. A file that has no tensor left goes, once the index does not
 * name it any more; without an index one file stays. Files that do not change are not written.
 *
 * Into another folder, which is made if it is not there, all files are written under their names, and the index behind
 * them, in the same way. Lists that other edits have left in the folder, be it of other indices, are carried out before:
 * they may be of the same files. One file by itself, opened by its path, is replaced as by st_edit_write, without a list.
 *
 * The index keeps its form and order: names are replaced where they stand, what was dropped is left out, what came in is
 * put behind, or where one of its name stood that was dropped. "total_size" of its metadata is made right, and
 * "total_parameters" changes by the elements that came and went; all else stays as it is. Tensors of a file that it does
 * not name it does not name afterwards either.
 *
 * What is open is the old checkpoint, of which the files that were replaced are no longer to be read: open it again.
 * @param options  durability and flags hold for every file, the name is not looked at; NULL: the defaults. Under
 *                 ST_SINK_NEW nothing is written if any of the names is taken.
 * @param out      NULL, or receives what was done.
 * @return as st_checkpoint_edit_look, st_edit_write; ST_ERR_JOURNAL; ST_ERR_IO, with EAGAIN while another edit of these
 *         files, or of others in the folder, is under way; ST_ERR_CHANGED for a file or an index that is no longer the one
 *         that was opened; ST_ERR_UNSUPPORTED for an index without "weight_map" of which no tensor would be left, for two
 *         files that are one under two names, and for a file that would go and lies behind a link to a folder.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_edit_write(st_checkpoint_edit *edit,
                                                         const char *folder,
                                                         const st_sink_options *options,
                                                         st_edit_summary *out, st_error *error);

/**
 * Changes the files where they are, one after the other, each as st_edit_write_in_place does; all are looked at before
 * the first is changed. A failure leaves those done before it changed, and names them.
 * @return as st_edit_write_in_place; ST_ERR_UNSUPPORTED where names change that an index has, or the number of elements
 *         does, which cannot be done in several places at once.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_edit_write_in_place(st_checkpoint_edit *edit,
                                                                  st_edit_summary *out,
                                                                  st_error *error);

/**
 * Tells what st_checkpoint_edit_write_in_place would come to, as st_edit_look_in_place does, and changes nothing.
 * @param out  NULL, or receives what would be done.
 * @return as st_edit_look_in_place; ST_ERR_UNSUPPORTED as that call gives it; ST_ERR_NAME_DUPLICATE.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_edit_look_in_place(st_checkpoint_edit *edit,
                                                                 st_edit_summary *out,
                                                                 st_error *error);

/**
 * Ends what st_checkpoint_edit_write has left of a checkpoint, and recovers each of its files as st_edit_recover does.
 * @param path  of a file, of a folder, or of an index, which need not be readable, nor be there if it has a list. Of a
 *              folder all lists that are in it, the files that its indices name, or else all that st_checkpoint_open
 *              takes, and any other file in it that has a journal; of an index its own list, and the files that it names.
 * @param recovered  receives whether any file was changed; may be NULL. A list that was not finished changes none: it is
 *                   removed, and the new files that it knows.
 * @return as st_edit_recover; ST_ERR_JOURNAL also for files that are not those that the list knows: all is left then.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_recover(const char *path, st_context *context,
                                                      bool *recovered, st_error *error);

/** What an interrupted edit has left of one file, or of several. Valid during the callback. */
typedef struct st_checkpoint_recovery {
    const char *
        path; /**< of the file; of several, of their index, or of the folder where they have none */
    const st_error *why; /**< why it cannot be recovered; NULL: it can, and this is what it is: */
    /** Of several files ST_RECOVERY_UNFINISHED, of which none took its place: what was made for them is removed; or
     *  ST_RECOVERY_FORWARD: the rest take theirs. It has no stretches then. */
    st_recovery found;
    uint64_t files; /**< of several: that the edit changes, the index among them */
    uint64_t left;  /**< of these: those that are not changed yet, and will be */
    bool several;   /**< there is a list of files, not a journal of one */
    uint8_t reserved0[7];
    uint64_t reserved[4];
} st_checkpoint_recovery;

/** Receives one of what was found; false ends the search. */
typedef bool (*st_checkpoint_recovery_fn)(void *ctx, const st_checkpoint_recovery *found);

/**
 * Tells what st_checkpoint_recover would do, and changes nothing: of each list and each journal, in the order in which
 * it would come to them. It goes on behind one that cannot be recovered, where that call stops. The files that an index
 * names are those that it names now. An edit that is under way looks like one that was interrupted, or is one that
 * cannot be recovered: ST_ERR_IO, with EAGAIN.
 * @param path  as st_checkpoint_recover's.
 * @param fn    is not called where nothing was left; may be NULL.
 * @return ST_OK, whatever was found; ST_ERR_IO for a path or a folder that cannot be read; ST_ERR_NOMEM; ST_ERR_STOPPED
 *         if the callback ended it.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_recovery_look(const char *path, st_context *context,
                                                            st_checkpoint_recovery_fn fn, void *ctx,
                                                            st_error *error);

/**
 * Writes an index of all tensors of a checkpoint, as st_split_write does: for files that have none, or one that is
 * not to be used. What an interrupted edit has left in the folder is ended before.
 * @param path  of the index, in the files' folder.
 * @return as st_split_write, and st_sink_open.
 */
ST_API ST_WARN_UNUSED st_status st_checkpoint_index_write(const st_checkpoint *checkpoint,
                                                          const char *path,
                                                          const st_sink_options *options,
                                                          st_error *error);

#ifdef __cplusplus
}
#endif

#endif
