/* SPDX-License-Identifier: Apache-2.0 */
/**
 * load.h: many tensors of many files into memory, by the fastest way there is for each.
 *
 *     st_load_item items[] = {{.file = file, .tensor = a}, {.file = file, .tensor = b}};
 *     st_load *load;
 *     st_loaded done;
 *     if (st_load_start(items, 2, NULL, &load, &error))
 *         ...
 *     while (st_load_next(load, &done, &error) == ST_OK && done.item != ST_LOAD_END)
 *         use(&items[done.item], done.data, done.size);
 *     st_load_free(load);
 *
 * A load is given everything that is wanted at once: whole tensors and parts of them, of any number of
 * files. It orders the bytes by where they lie, reads neighbours together, and hands out each tensor as
 * soon as it is complete, in the order of completion. Which strategy moves the bytes (safetensors.h,
 * ST_IO_…) is decided per file by what the page cache holds, where the file lies and how much is wanted;
 * the bytes are the same whichever it is.
 *
 * Where the bytes go
 *
 * - An item with `dst` is copied there, packed in row-major order.
 * - Any other is placed in memory that the load makes: a few large blocks in huge pages where there are,
 *   in which bytes lie at the same place within a page as in the file, so that devices write straight
 *   into them. Blocks are counted: `buffer` holds one for as long as it is wanted, beyond
 *   st_load_free. One block holds many items, and is there until the last of them is released. Two items
 *   of the same bytes are two copies.
 * - With ST_LOAD_VIEWS an item that is contiguous in its file may be given as a view of a mapping
 *   instead: private and writable, nothing copied, shared with other processes until written to. Views
 *   have the caveats of st_file_map, and of two items of the same bytes each shows what is written to the
 *   other.
 *
 * `data` is aligned to the element's size, up to 16 bytes, but for `dst` and views, which lie as they lie.
 *
 * What can go wrong. A failure names the file, the tensor and the byte; it ends the load, and every
 * later call tells the same. What was handed out before stays good. A tensor is handed out only when all of
 * its bytes have arrived and its file was then still the one that was opened: a file cut off or replaced
 * meanwhile is ST_ERR_SHORT_READ or ST_ERR_CHANGED, never wrong bytes.
 *
 * Threads, staging memory and descriptors come out of the context's budgets, which all loads of the
 * context share. No load waits for a thread: with none to spare, and where little is wanted, st_load_next
 * itself reads.
 */
#ifndef SAFETENSORS_LOAD_H
#define SAFETENSORS_LOAD_H

#include <safetensors/safetensors.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One thing to load. All that it points to stays the caller's and unchanged until st_load_free. */
typedef struct st_load_item {
    const st_file *file;
    const st_tensor *tensor; /**< of `file`'s header */
    const st_region *region; /**< NULL: the whole tensor */
    void *dst;               /**< NULL: the load makes room */
    size_t size; /**< of `dst`: that of the tensor or region, exactly; without `dst`, 0 */
    uint64_t reserved[3];
} st_load_item;

enum {
    /** Items without `dst` may be given as views of a mapping. */
    ST_LOAD_VIEWS = 1
};

/** How to load. Zero-initialise; NULL where one is asked for means the same. */
typedef struct st_load_options {
    uint32_t io;    /**< ST_IO_…; ST_IO_AUTO: as each file was opened */
    uint32_t flags; /**< ST_LOAD_… */
    st_context *context;
    /** Bytes that may have been read and not yet been taken, or taken and their buffer not yet released, at
     *  most; a single item may be larger. 0: no limit. Items with `dst`, views, and what little lies between
     *  items count nothing. */
    uint64_t max_ahead;
    uint64_t reserved[8];
} st_load_options;

/** A load under way. For one thread at a time, but for st_load_cancel. */
typedef struct st_load st_load;

/** st_loaded.item when there is nothing left. */
#define ST_LOAD_END SIZE_MAX

/** One item that is complete. */
typedef struct st_loaded {
    size_t item; /**< its number among the items given, or ST_LOAD_END */
    void *data;  /**< the item's `dst`, or in the load's own memory */
    size_t size;
    /** What holds `data`, a reference of the caller's to release; NULL: `dst`, or there is nothing to hold. */
    st_buffer *buffer;
    uint64_t done;  /**< bytes that have been handed out by now, this item's counted */
    uint64_t total; /**< of all items */
    uint64_t reserved[4];
} st_loaded;

/**
 * Plans the load and starts it. Reads nothing on the caller's thread.
 * @param items  copied; empty is fine.
 * @return ST_OK; ST_ERR_BUFFER_SIZE; ST_ERR_ARGUMENT for a region of another shape, or options out of
 *         range; ST_ERR_TOO_BIG, also of more than 2^30 - 2 items; ST_ERR_CHANGED for a file that is no longer
 *         what was opened; ST_ERR_IO; ST_ERR_NOMEM.
 */
ST_API ST_WARN_UNUSED st_status st_load_start(const st_load_item *items, size_t count,
                                              const st_load_options *options, st_load **out,
                                              st_error *error);
/**
 * Waits for the next item to be complete and hands it out; at the end `out->item` is ST_LOAD_END. With
 * `max_ahead`, buffers that were handed out have to be released for the load to go on: an item for which
 * there is no room while the caller holds others is read all the same, so that this never waits for the
 * caller itself.
 * @return ST_OK; ST_ERR_STOPPED after st_load_cancel; ST_ERR_SHORT_READ, ST_ERR_CHANGED, ST_ERR_IO,
 *         ST_ERR_NOMEM.
 */
ST_API ST_WARN_UNUSED st_status st_load_next(st_load *load, st_loaded *out, st_error *error);
/** Makes the load end as soon as the requests under way are done; from any thread, any number of times. */
ST_API void st_load_cancel(st_load *load);
/** Cancels what is not done, waits for it, and frees. The `dst` of items not handed out hold anything.
 *  NULL is fine. */
ST_API void st_load_free(st_load *load);

/** Gives the number of files the load reads from, in the order in which the items name them. */
ST_API size_t st_load_file_count(const st_load *load);
/** Tells how the load reads file `index`: as decided when it was started, or what it came to since. */
ST_API void st_load_explain(const st_load *load, size_t index, st_explanation *out);

#ifdef __cplusplus
}
#endif

#endif
