/* SPDX-License-Identifier: Apache-2.0 */
/**
 * safetensors.h: read and write safetensors files from C.
 *
 * A safetensors file is
 *
 *     bytes 0..8      N, the length of the header: unsigned, 64 bits, little-endian
 *     bytes 8..8+N    the header: UTF-8 JSON, one object
 *     bytes 8+N..     the data section: the tensors' bytes, densely packed
 *
 * and each member of the header names a tensor and says its dtype, its shape and the bytes of the
 * data section that hold it: `"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}`. The member
 * `__metadata__` is an object of strings. docs/format.md is the full specification.
 *
 * Four calls read a tensor:
 *
 *     st_file *file;
 *     st_error error;
 *     if (st_file_open("model.safetensors", NULL, &file, &error))
 *         fprintf(stderr, "%s\n", error.message);
 *     const st_tensor *w = st_file_find(file, "w", 1);
 *     st_file_read(file, w, NULL, memory, st_tensor_size(w), &error);
 *     st_file_close(file);
 *
 * and these write one, whole or not at all:
 *
 *     st_writer *writer;
 *     st_sink *sink;
 *     size_t w;
 *     st_writer_new(NULL, &writer, &error);
 *     st_writer_add(writer, &(st_tensor){.name = "w", .name_len = 1, .dtype = ST_F32,
 *                                        .shape = (uint64_t[]){2, 3}, .ndim = 2}, &w, &error);
 *     st_sink_open("model.safetensors", NULL, &sink, &error);
 *     st_writer_begin(writer, sink, &error);
 *     st_writer_write(writer, w, 0, memory, 24, &error);
 *     st_writer_finish(writer, &error);
 *     st_sink_release(sink);
 *     st_writer_free(writer);
 *
 * Caveats
 *
 * - A mapped view (st_file_map) can fault (SIGBUS) when another process truncates the file while it
 *   is mapped, and shows what another process writes into it. st_file_read never does either: it
 *   copies, and reports ST_ERR_CHANGED when the file's size or times moved meanwhile. The
 *   exception is ST_IO_MAP, which asks for copies out of a mapping.
 * - The format promises no alignment. `begin` of an F32 tensor need not be a multiple of 4 and
 *   `8+N` need not be one of 8: copy with memcpy, or check before casting a pointer.
 * - Elements are little-endian in the file and in what st_file_read delivers; st_elements_swap turns
 *   them round on a big-endian host, st_element_decode reads them in place on any.
 * - Names and metadata come from whoever made the file. They may hold any character, NUL and
 *   terminal control sequences included: they are pointer and length, never C strings.
 * - After fork() each of the two processes may go on with its copies of the handles, loads and writers under way
 *   excepted. Where other threads use a context at that moment st_context_fork_begin has to come before it.
 *   Before Linux 6.5 a process that forks while reads past the page cache are under way in other threads may
 *   find old bytes in the memory they read into (open(2), O_DIRECT): there, load after the fork, or by ST_IO_PREAD.
 *
 * Rules of the whole interface
 *
 * - A function that can fail returns a st_status and takes a st_error, which may be NULL, as its last
 *   parameter. It writes its outputs only on success. Bad data, the outside world and calls in
 *   a wrong order are reported; only a pointer that must not be NULL is asserted.
 * - Objects made by `new` or `open` are given back with `free`, `close` or `release`, all of which
 *   accept NULL. What a getter returns is borrowed and lives as long as the object asked.
 * - Every handle may be read from any thread at once. The library has no state outside its
 *   handles, starts no thread that outlives the call, load or writer it works for, prints nothing and never
 *   exits.
 * - Structs of options are zero-initialisable: zero is the default everywhere, and the reserved
 *   tail must be zero.
 */
#ifndef SAFETENSORS_SAFETENSORS_H
#define SAFETENSORS_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef ST_API
# if defined(_WIN32) && defined(ST_SHARED)
#  define ST_API __declspec(dllimport)
# elif defined(__GNUC__)
#  define ST_API __attribute__((visibility("default")))
# else
#  define ST_API
# endif
#endif

#if defined(__GNUC__)
# define ST_WARN_UNUSED __attribute__((warn_unused_result))
#else
# define ST_WARN_UNUSED
#endif

/* ------------------------------------------------------------------------------- version */

#define ST_VERSION_MAJOR 0
#define ST_VERSION_MINOR 9
#define ST_VERSION_PATCH 0
#define ST_VERSION       (ST_VERSION_MAJOR * 10000 + ST_VERSION_MINOR * 100 + ST_VERSION_PATCH)

/** Gives the version of the library that runs, as ST_VERSION does of the header compiled against. */
ST_API int32_t st_version(void);

/* -------------------------------------------------------------------------------- status */

/**
 * What went wrong; 0 is success. The map is the single list: X(NAME, number, text), the text being
 * what st_status_text gives. 1-19 come from the environment, 20-59 mean that the file is malformed,
 * 60-79 that the request is.
 */
#define ST_STATUS_MAP(X)                                                                     \
 X(ST_OK, 0, "success")                                                                      \
 X(ST_ERR_NOMEM, 1, "out of memory")                                                         \
 X(ST_ERR_IO, 2, "the operating system reported an error")                                   \
 X(ST_ERR_NOT_REGULAR, 3, "not a regular file")                                              \
 X(ST_ERR_SHORT_READ, 4, "the source ended before its stated size")                          \
 X(ST_ERR_CHANGED, 5, "the file changed while it was read")                                  \
 X(ST_ERR_UNSUPPORTED, 6, "not supported by this source or on this system")                  \
 X(ST_ERR_TOO_BIG, 7, "does not fit into this process's address space")                      \
 X(ST_ERR_HEADER_TOO_SMALL, 20, "file shorter than 8 bytes")                                 \
 X(ST_ERR_HEADER_TOO_LARGE, 21, "header length above the limit")                             \
 X(ST_ERR_HEADER_LENGTH, 22, "header length reaches past the end of the file")               \
 X(ST_ERR_HEADER_UTF8, 23, "header is not UTF-8")                                            \
 X(ST_ERR_HEADER_JSON, 24, "header is not valid JSON")                                       \
 X(ST_ERR_HEADER_DEPTH, 25, "header nested deeper than 127 levels")                          \
 X(ST_ERR_HEADER_TYPE, 26, "header is not an object")                                        \
 X(ST_ERR_METADATA_TYPE, 27, "__metadata__ is not an object of strings")                     \
 X(ST_ERR_METADATA_TWICE, 28, "__metadata__ appears twice")                                  \
 X(ST_ERR_METADATA_DUPLICATE, 29, "duplicate metadata key")                                  \
 X(ST_ERR_ENTRY_TYPE, 30, "tensor entry is not an object")                                   \
 X(ST_ERR_FIELD_MISSING, 31, "tensor entry lacks a field")                                   \
 X(ST_ERR_FIELD_DUPLICATE, 32, "tensor entry has a field twice")                             \
 X(ST_ERR_DTYPE_TYPE, 33, "dtype is not a string")                                           \
 X(ST_ERR_DTYPE_UNKNOWN, 34, "unknown dtype")                                                \
 X(ST_ERR_SHAPE_TYPE, 35, "shape is not an array of integers from 0 to 2^64-1")              \
 X(ST_ERR_OFFSETS_TYPE, 36, "data_offsets is not an array of two integers from 0 to 2^64-1") \
 X(ST_ERR_NAME_DUPLICATE, 37, "duplicate tensor name")                                       \
 X(ST_ERR_OFFSETS, 38, "data_offsets leave a hole, overlap or run backwards")                \
 X(ST_ERR_OVERFLOW, 39, "the tensor's size in bits exceeds 64 bits")                         \
 X(ST_ERR_MISALIGNED, 40, "the tensor does not end at a byte boundary")                      \
 X(ST_ERR_SIZE_MISMATCH, 41, "data_offsets disagree with dtype and shape")                   \
 X(ST_ERR_FILE_TRUNCATED, 42, "file shorter than its header says")                           \
 X(ST_ERR_TRAILING_BYTES, 43, "file longer than its header says")                            \
 X(ST_ERR_JSON, 50, "not valid JSON")                                                        \
 X(ST_ERR_SHARD_NAME, 51, "the index names a file that may be no shard")                     \
 X(ST_ERR_SHARD_TENSOR, 52, "a shard lacks a tensor that the index says it holds")           \
 X(ST_ERR_JOURNAL, 53, "the journal of an edit in place cannot be used")                     \
 X(ST_ERR_NOT_FOUND, 60, "not found")                                                        \
 X(ST_ERR_ARGUMENT, 61, "invalid argument")                                                  \
 X(ST_ERR_INDEX, 62, "invalid index")                                                        \
 X(ST_ERR_INDEX_MISALIGNED, 63, "slice does not start and end at byte boundaries")           \
 X(ST_ERR_BUFFER_SIZE, 64, "buffer size differs from the data's")                            \
 X(ST_ERR_STOPPED, 65, "stopped by the caller")                                              \
 X(ST_ERR_INCOMPLETE, 66, "not every byte was written")                                      \
 X(ST_ERR_WRITTEN_TWICE, 67, "a byte was written twice")                                     \
 X(ST_ERR_NO_ROOM, 68, "there is no room for it in place")

typedef int32_t st_status;

#define ST_STATUS_ENUM(name, number, text) name = number,
enum { ST_STATUS_MAP(ST_STATUS_ENUM) };
#undef ST_STATUS_ENUM

/** Gives the constant's name ("ST_ERR_IO"), or "?" for a number that is no status. */
ST_API const char *st_status_name(st_status status);

/** Gives one line of English for a status, without the particulars that st_error has. */
ST_API const char *st_status_text(st_status status);

/** st_error.offset where no byte of a file is at fault. */
#define ST_NO_OFFSET UINT64_MAX

/**
 * What went wrong in particular. The caller owns it; whoever detects a fault fills it once, and a
 * call that succeeds leaves it alone.
 */
typedef struct st_error {
    st_status status;
    int32_t sys_errno; /**< errno, or 0 where the operating system refused nothing */
    uint64_t offset;   /**< absolute byte offset in the file, or ST_NO_OFFSET */
    char message[496]; /**< one line of UTF-8, terminated: file, tensor, numbers, what to do */
} st_error;

/* ------------------------------------------------------------------------------- context */

/**
 * Where the library takes its memory from. `size` and `old_size` are those asked for before.
 * Alignment is that of max_align_t. All three must be set, and be callable from any thread.
 */
typedef struct st_allocator {
    void *(*alloc)(void *ctx, size_t size);
    void *(*realloc)(void *ctx, void *memory, size_t old_size, size_t size);
    void (*free)(void *ctx, void *memory, size_t size);
    void *ctx;
} st_allocator;

/** Zero-initialise; `allocator` NULL: malloc, realloc and free. */
typedef struct st_context_options {
    /** Copied. Pieces of 1 MiB and more, in which data is staged or loaded, come from the system in huge pages
     *  instead; the context keeps up to 256 MiB of them for the next read. */
    const st_allocator *allocator;
    /** Threads of the library's own that are at work at once, the caller's of one call counted: all calls
     *  and loads of the context share them, and none waits for one. 0: as many as CPUs, up to 8. */
    uint32_t max_threads;
    /** Files opened by their path that are open at once, or as many more as are in use at the moment. The one
     *  used longest ago is closed, and opened again by its path when it is used: ST_ERR_IO if it is gone by then,
     *  ST_ERR_CHANGED if it is another file, or was changed, be it only renamed or linked. A read past the
     *  page cache has one more open meanwhile. 0: half of what the process may have. */
    uint32_t max_descriptors;
    uint64_t max_memory; /**< bytes for staging one read's blocks; 0: 64 MiB */
    /** Bytes of parsed headers kept for the next time the same file is opened, unless it was changed less than
     *  two seconds before. What somebody goes on writing through a mapping of it shows in no time of a file.
     *  Those used longest ago make room. 0: 64 MiB. */
    uint64_t max_header_memory;
    uint64_t reserved[7];
} st_context_options;

/**
 * What handles share: the allocator, the budgets, the headers of files opened before, and what was learned
 * of file systems. Optional: where a context is asked for, NULL shares nothing and uses the defaults.
 * Thread-safe; what was made with a context keeps it alive.
 */
typedef struct st_context st_context;

/** Makes a context with one reference. @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT. */
ST_API ST_WARN_UNUSED st_status st_context_new(const st_context_options *options, st_context **out,
                                               st_error *error);
/** Adds a reference and returns the context. */
ST_API st_context *st_context_retain(st_context *context);
/** Drops a reference; the last one frees the context. NULL is fine. */
ST_API void st_context_release(st_context *context);

/**
 * Makes a context fit for a fork() while other threads use it: takes all of its locks, so that none of them is
 * held in the child by a thread that does not exist there. The caller has a reference, and until
 * st_context_fork_end calls nothing that has to do with the context: fork() alone belongs in between.
 * pthread_atfork calls both at the right moments. Threads that fork at once take several contexts in one order.
 * NULL is fine.
 *
 * A process that forks without this may use the context in the child as long as no other thread used it, or
 * anything made with it, at that moment.
 */
ST_API void st_context_fork_begin(st_context *context);
/**
 * Lets the locks go: in the parent, and with `child` in the child. There it also takes back the threads that
 * others had at work. The child may use all handles made with the context, and release them, but for these (an
 * allocator of the caller's own has to stand a fork as malloc does):
 *
 * - Loads, writers and sinks that other threads were at work on, a load's own threads included: it leaves them
 *   as they are.
 * - What another thread was just making or releasing: that is lost, memory and descriptors with it.
 *
 * A file that another thread was reading stays open in the child until it is released, whatever the budget of
 * descriptors.
 */
ST_API void st_context_fork_end(st_context *context, bool child);

/**
 * Told how far a long call has come: `done` of `total` bytes. Called now and then, on the thread that
 * made the call; false ends the call with ST_ERR_STOPPED.
 */
typedef bool (*st_progress_fn)(void *ctx, uint64_t done, uint64_t total);

typedef struct st_progress {
    st_progress_fn fn; /**< NULL: none */
    void *ctx;
} st_progress;

/* -------------------------------------------------------------------------------- buffer */

/** Memory with what to call when nobody needs it any more; `release` may be NULL. */
typedef struct st_memory {
    void *data;
    size_t size;
    void (*release)(void *ctx, void *data, size_t size); /**< called once, from any thread */
    void *ctx;
} st_memory;

/** Counted memory: a mapping, foreign memory, or the library's own. Immutable but for its bytes. */
typedef struct st_buffer st_buffer;

/**
 * Takes memory over: its release callback runs when the last reference goes. On failure the memory
 * stays the caller's. @return ST_OK; ST_ERR_NOMEM.
 */
ST_API ST_WARN_UNUSED st_status st_buffer_new(st_context *context, const st_memory *memory,
                                              st_buffer **out, st_error *error);
ST_API st_buffer *st_buffer_retain(st_buffer *buffer);
ST_API void st_buffer_release(st_buffer *buffer);
ST_API void *st_buffer_data(const st_buffer *buffer);
ST_API size_t st_buffer_size(const st_buffer *buffer);

/* --------------------------------------------------------------------------------- dtype */

/**
 * The element types. X(NAME, number, code in the header, bits per element, kind). Numbers are ours and
 * fixed. Sub-byte elements are packed from the low bits of a byte up, as a little-endian
 * stream of bits; `shape` counts elements, not bytes.
 */
#define ST_DTYPE_MAP(X)                                 \
 X(ST_BOOL, 1, "BOOL", 8, ST_KIND_BOOL)                 \
 X(ST_U8, 2, "U8", 8, ST_KIND_UINT)                     \
 X(ST_I8, 3, "I8", 8, ST_KIND_INT)                      \
 X(ST_U16, 4, "U16", 16, ST_KIND_UINT)                  \
 X(ST_I16, 5, "I16", 16, ST_KIND_INT)                   \
 X(ST_U32, 6, "U32", 32, ST_KIND_UINT)                  \
 X(ST_I32, 7, "I32", 32, ST_KIND_INT)                   \
 X(ST_U64, 8, "U64", 64, ST_KIND_UINT)                  \
 X(ST_I64, 9, "I64", 64, ST_KIND_INT)                   \
 X(ST_F16, 10, "F16", 16, ST_KIND_FLOAT)                \
 X(ST_BF16, 11, "BF16", 16, ST_KIND_FLOAT)              \
 X(ST_F32, 12, "F32", 32, ST_KIND_FLOAT)                \
 X(ST_F64, 13, "F64", 64, ST_KIND_FLOAT)                \
 X(ST_C64, 14, "C64", 64, ST_KIND_COMPLEX)              \
 X(ST_F8_E4M3, 15, "F8_E4M3", 8, ST_KIND_FLOAT)         \
 X(ST_F8_E5M2, 16, "F8_E5M2", 8, ST_KIND_FLOAT)         \
 X(ST_F8_E8M0, 17, "F8_E8M0", 8, ST_KIND_FLOAT)         \
 X(ST_F8_E4M3FNUZ, 18, "F8_E4M3FNUZ", 8, ST_KIND_FLOAT) \
 X(ST_F8_E5M2FNUZ, 19, "F8_E5M2FNUZ", 8, ST_KIND_FLOAT) \
 X(ST_F6_E2M3, 20, "F6_E2M3", 6, ST_KIND_FLOAT)         \
 X(ST_F6_E3M2, 21, "F6_E3M2", 6, ST_KIND_FLOAT)         \
 X(ST_F4, 22, "F4", 4, ST_KIND_FLOAT)

typedef int32_t st_dtype;
typedef int32_t st_kind;

enum { ST_KIND_BOOL = 1, ST_KIND_UINT, ST_KIND_INT, ST_KIND_FLOAT, ST_KIND_COMPLEX };

#define ST_DTYPE_ENUM(name, number, code, bits, kind) name = number,
enum {
    ST_DTYPE_MAP(ST_DTYPE_ENUM) /* */
    /** Dtypes are 1 .. ST_DTYPE_COUNT. */
    ST_DTYPE_COUNT = 22,
    /** This and above: dtypes of ST_OPEN_UNKNOWN_DTYPES, see st_header_dtype_code. */
    ST_DTYPE_UNKNOWN = 0x40000000
};
#undef ST_DTYPE_ENUM

/** Finds the dtype of a header code ("BF16", case matters); 0 if there is none. */
ST_API st_dtype st_dtype_find(const char *code, size_t code_len);
/** Gives the header code, terminated; NULL for a number that is no known dtype. */
ST_API const char *st_dtype_code(st_dtype dtype);
/** Gives the bits of one element, 4 to 64; 0 for a number that is no known dtype. */
ST_API uint32_t st_dtype_bits(st_dtype dtype);
/** Gives ST_KIND_…; 0 for a number that is no known dtype. */
ST_API st_kind st_dtype_kind(st_dtype dtype);

/* ------------------------------------------------------------------------------ elements */

/** One element's value, exactly: every dtype's values are representable in its member. */
typedef struct st_value {
    st_kind kind;
    int32_t reserved;
    union {
        uint64_t u;  /**< ST_KIND_UINT; ST_KIND_BOOL: the byte as stored, true if not 0 */
        int64_t i;   /**< ST_KIND_INT */
        double f[2]; /**< ST_KIND_FLOAT: f[0]; ST_KIND_COMPLEX: real, imaginary */
    } as;
} st_value;

/**
 * Decodes element `index` of packed little-endian elements. NaN payloads are not kept.
 * `dtype` must be a known one, and `data` hold the whole element.
 */
ST_API st_value st_element_decode(st_dtype dtype, const void *data, uint64_t index);

/**
 * Encodes a value as element `index`, leaving the neighbours' bits alone. A value of another kind is
 * converted. Floats round to nearest, ties to even (E8M0: to the nearest power of two, ties up);
 * what is out of a format's range becomes its infinity, else its NaN, else (F6, F4) its largest
 * value, as ml_dtypes does (torch 2.13 gives the largest value of F8_E4M3 in place of its NaN); E8M0 takes what lies between its least
 * value and the next for the next. Integers clamp to their range, floats given for them lose
 * their fraction, and NaN becomes 0.
 */
ST_API void st_element_encode(st_dtype dtype, void *data, uint64_t index, const st_value *value);

/** Room for any element's text, the terminator included. */
#define ST_ELEMENT_TEXT_SIZE 64

/**
 * Prints a value in the fewest digits that encode to the same element of `dtype`: "true", "-7",
 * "0.1", "1e-40", "nan", "-inf", "1+2j".
 * @return the length of the text, which is terminated and fits ST_ELEMENT_TEXT_SIZE.
 */
ST_API size_t st_element_format(st_dtype dtype, const st_value *value, char *text, size_t size);

/** Reverses the bytes of each of `count` elements in place (of each half, for C64); sub-byte and 8-bit dtypes: nothing. */
ST_API void st_elements_swap(st_dtype dtype, void *data, uint64_t count);

/** How many elements a conversion could not keep. Infinities and NaN are not counted. */
typedef struct st_cast_report {
    /** Finite, and beyond the largest finite value of the new dtype once rounded; for E8M0 also what is not above 0. */
    uint64_t overflowed;
    uint64_t underflowed; /**< not 0, and 0 once rounded */
    uint64_t reserved[2];
} st_cast_report;

/** Tells whether st_elements_cast converts between two dtypes: those of ST_KIND_FLOAT, each to each. */
ST_API bool st_dtype_casts(st_dtype from, st_dtype to);

/**
 * Converts packed little-endian elements, each as st_element_decode and st_element_encode would one by one, rounding
 * once; to the dtype that they have, it copies them, NaN payloads included. `src` and `dst` do not overlap; the last
 * byte of a sub-byte `dst` is filled with zero bits.
 * @param report  NULL, or what is added to.
 * @return ST_OK; ST_ERR_UNSUPPORTED for a pair that st_dtype_casts denies.
 */
ST_API ST_WARN_UNUSED st_status st_elements_cast(st_dtype from, const void *src, st_dtype to,
                                                 void *dst, uint64_t count, st_cast_report *report);

/* -------------------------------------------------------------------------------- tensor */

/** A tensor's description. Borrowed from its header and as immutable; pass it by pointer. */
typedef struct st_tensor {
    const char *name; /**< UTF-8, any character; terminated, but may hold NUL */
    uint32_t name_len;
    uint32_t reserved;     /**< the library's own */
    const uint64_t *shape; /**< `ndim` dimensions, in elements; not NULL */
    uint32_t ndim;         /**< 0: a scalar, one element */
    st_dtype dtype;
    uint64_t begin; /**< first byte, counted from the start of the data section */
    uint64_t end;   /**< one past the last byte */
} st_tensor;

/** Gives the tensor's size in bytes. */
static inline uint64_t st_tensor_size(const st_tensor *tensor)
{
    return tensor->end - tensor->begin;
}

/** Gives the number of elements, the product of the shape (1 for a scalar). */
ST_API uint64_t st_tensor_count(const st_tensor *tensor);

/**
 * Data in memory. `strides` are the bytes from an index to the next, one per dimension, of any sign, 0
 * for a repeated one; NULL: packed in row-major order. A sub-byte dtype is packed along its last
 * dimension, whose stride is not looked at.
 */
typedef struct st_array {
    void *data; /**< of the element whose indices are all 0 */
    const uint64_t *shape;
    const int64_t *strides;
    uint32_t ndim;
    st_dtype dtype;
    st_buffer *buffer; /**< what keeps `data` alive; NULL: the caller does */
    int32_t device;    /**< 0: the host's memory */
    int32_t reserved0;
    uint64_t reserved[4];
} st_array;

/* --------------------------------------------------------------------------------- options */

/** The header limit of the format: 100,000,000 bytes, inclusive. */
#define ST_HEADER_MAX UINT64_C(100000000)

enum {
    /** Accept just what upstream's reader accepts: duplicate names and metadata keys (the last one wins),
     *  an entry given as an array, a dtype given as `{"U8":null}`. */
    ST_OPEN_UPSTREAM = 1,
    /** List tensors of a dtype this library does not know; they can be read whole, as bytes. */
    ST_OPEN_UNKNOWN_DTYPES = 2
};

/**
 * How bytes get into memory. All deliver the same bytes. What a source or the system refuses is replaced
 * by the next best: ST_IO_URING by _DIRECT, _DIRECT by _DONTCACHE, _DONTCACHE by _PREAD; _POPULATE by
 * _MAP, _MAP by _PREAD. st_file_explain tells what it came to.
 */
enum {
    /** By what the file is and where it lies: docs/performance.md. Never a mapping, but of memory, or where
     *  views are asked for (load.h). */
    ST_IO_AUTO = 0,
    ST_IO_PREAD = 1,     /**< positioned reads through the page cache */
    ST_IO_MAP = 2,       /**< out of a mapping: see the caveats above */
    ST_IO_DIRECT = 3,    /**< past the page cache (O_DIRECT), by several threads */
    ST_IO_URING = 4,     /**< the same by many requests in flight from one thread (io_uring) */
    ST_IO_DONTCACHE = 5, /**< positioned reads that leave nothing there (RWF_DONTCACHE) */
    ST_IO_POPULATE = 6   /**< out of a mapping that is filled ahead */
};

/** Gives the name of a strategy: "auto", "pread", "map", "direct", "uring", "dontcache", "populate"; NULL
 *  for a number that is none. */
ST_API const char *st_io_name(uint32_t io);

/** How to open. Zero-initialise; NULL where one is asked for means the same. */
typedef struct st_open_options {
    uint32_t flags;           /**< ST_OPEN_… */
    uint32_t io;              /**< ST_IO_…: how reads of this file get their bytes */
    uint64_t max_header_size; /**< 0: ST_HEADER_MAX; at most 4,294,901,759 */
    st_context *context;
    const char *name; /**< for messages, copied; NULL: the path, or "<memory>" and the like */
    uint64_t reserved[8];
} st_open_options;

/* -------------------------------------------------------------------------------- header */

/** A validated header. Immutable; keeps nothing of the bytes it was parsed from. */
typedef struct st_header st_header;

/**
 * Reads how long a header is, from the first 8 bytes of a file, and checks that it may be: the
 * first three steps of st_header_parse.
 * @param file_size  the size of the whole file.
 * @param out        receives N, the length of the JSON text: the header ends at byte 8 + N.
 * @return ST_OK; ST_ERR_HEADER_TOO_SMALL, _TOO_LARGE, _LENGTH.
 */
ST_API ST_WARN_UNUSED st_status st_header_length(const void *prefix, size_t size,
                                                 uint64_t file_size, const st_open_options *options,
                                                 uint64_t *out, st_error *error);

/**
 * Parses and validates a header without any I/O.
 * @param prefix     the file's first bytes: 8 + N of them, or more; only read during the call.
 * @param file_size  the size of the whole file, against which the data section is checked.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT when `prefix` ends before the header though the file
 *         does not; any status from 20 to 49, with the offset of the byte at fault.
 */
ST_API ST_WARN_UNUSED st_status st_header_parse(const void *prefix, size_t size, uint64_t file_size,
                                                const st_open_options *options, st_header **out,
                                                st_error *error);
ST_API st_header *st_header_retain(st_header *header);
ST_API void st_header_release(st_header *header);

/** Gives the number of tensors. */
ST_API size_t st_header_count(const st_header *header);
/** Gives tensor `index`, 0 .. count-1, in data order: by (begin, end), ties as in the file. */
ST_API const st_tensor *st_header_at(const st_header *header, size_t index);
/** Finds a tensor by name in O(1); NULL if there is none. */
ST_API const st_tensor *st_header_find(const st_header *header, const char *name, size_t name_len);
/** Gives the index of a tensor of this header, so that st_header_at gives it back. */
ST_API size_t st_header_index(const st_header *header, const st_tensor *tensor);
/** Gives N, the length of the JSON text, padding included. */
ST_API uint64_t st_header_size(const st_header *header);
/** Gives 8 + N, the offset of the data section in the file. */
ST_API uint64_t st_header_data_offset(const st_header *header);
/** Gives the size of the data section in bytes. */
ST_API uint64_t st_header_data_size(const st_header *header);
/** Gives a tensor's header code, terminated, of unknown dtypes too; its length is stored unless NULL. */
ST_API const char *st_header_dtype_code(const st_header *header, st_dtype dtype, size_t *code_len);
/**
 * Orders the tensors by name, by code point as upstream's `keys()` does.
 * @param out  receives st_header_count indices.
 * @return ST_OK; ST_ERR_NOMEM.
 */
ST_API ST_WARN_UNUSED st_status st_header_sort(const st_header *header, uint32_t *out,
                                               st_error *error);

/** One metadata entry; both strings are UTF-8, terminated, and may hold NUL. */
typedef struct st_metadata {
    const char *key;
    uint32_t key_len;
    uint32_t value_len;
    const char *value;
} st_metadata;

/** Tells whether the file has `__metadata__`, be it empty; absent and null are the same. */
ST_API bool st_header_has_metadata(const st_header *header);
ST_API size_t st_header_metadata_count(const st_header *header);
/** Gives entry `index`, in the file's order. */
ST_API const st_metadata *st_header_metadata_at(const st_header *header, size_t index);
/** Finds an entry by key in O(1); NULL if there is none. */
ST_API const st_metadata *st_header_metadata_find(const st_header *header, const char *key,
                                                  size_t key_len);

/* -------------------------------------------------------------------------------- region */

/** One item of an index, as between the brackets of NumPy's `a[1, 2:8:3, ..., None]`. */
typedef struct st_index {
    int32_t kind;  /**< ST_INDEX_… */
    uint32_t has;  /**< ST_INDEX_SLICE: which of ST_INDEX_START, _STOP, _STEP are given */
    int64_t start; /**< ST_INDEX_INTEGER: the integer */
    int64_t stop;
    int64_t step;
} st_index;

enum {
    ST_INDEX_INTEGER = 1, /**< selects and drops a dimension; negative counts from the end */
    ST_INDEX_SLICE = 2,
    ST_INDEX_ELLIPSIS = 3,
    ST_INDEX_NEWAXIS = 4 /**< adds a dimension of size 1 to the result */
};
enum { ST_INDEX_START = 1, ST_INDEX_STOP = 2, ST_INDEX_STEP = 4 };

/** `count` indices from `start` on, `step` apart (of either sign, never 0). */
typedef struct st_slice {
    uint64_t start;
    uint64_t count;
    int64_t step;
} st_slice;

/** The slices taken along one dimension, one behind the other. */
typedef struct st_slices {
    const st_slice *at;
    uint32_t count;
    uint32_t reserved;
} st_slices;

/**
 * A part of a tensor: per dimension of the tensor, a list of slices. `shape` is that of the result,
 * where integers dropped dimensions and newaxis added some. Filled by st_region_init or _parse, given
 * back with st_region_release, immutable between. Belongs to the shape it was made for.
 */
typedef struct st_region {
    const st_slices *dims; /**< `ndim`, one per dimension of the tensor */
    const uint64_t *shape; /**< `out_ndim`, of the result */
    uint32_t ndim;
    uint32_t out_ndim;
    uint64_t count; /**< elements of the result */
    uint64_t size;  /**< bytes of the result */
    void *memory;   /**< the library's own, as is all below */
    size_t memory_size;
    st_context *context;
    uint64_t reserved[2];
} st_region;

/**
 * Resolves an index against a tensor's shape, with NumPy's rules for basic indexing: slices clamp,
 * integers must be in range, an index shorter than the shape takes the rest whole. No index at
 * all (`n` 0) takes everything.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_INDEX (out of range, step 0, too many items, two ellipses);
 *         ST_ERR_INDEX_MISALIGNED where a sub-byte dtype would have to be cut inside a byte;
 *         ST_ERR_OVERFLOW for a tensor of the caller's own whose shape counts beyond 64 bits;
 *         ST_ERR_DTYPE_UNKNOWN for a proper part of a tensor of unknown dtype.
 */
ST_API ST_WARN_UNUSED st_status st_region_init(st_region *region, st_context *context,
                                               const st_tensor *tensor, const st_index *index,
                                               size_t n, st_error *error);

/** The same from text: "1:3, ..., ::-1, None", with or without brackets. @return also ST_ERR_INDEX for bad syntax. */
ST_API ST_WARN_UNUSED st_status st_region_parse(st_region *region, st_context *context,
                                                const st_tensor *tensor, const char *text,
                                                size_t text_len, st_error *error);
/** Frees what init made; a zeroed region is fine. */
ST_API void st_region_release(st_region *region);

/* -------------------------------------------------------------------------------- source */

/** What a source says of itself. Two equal identities mean the same bytes. */
typedef struct st_source_info {
    uint64_t size;   /**< bytes */
    uint64_t device; /**< device, inode, mtime, ctime: 0 where there are none */
    uint64_t inode;
    int64_t mtime_ns;
    int64_t ctime_ns;
    const char *etag;     /**< of a remote object, borrowed from the source; NULL: none */
    uint32_t alignment;   /**< bytes at which reads are best aligned; 0 and 1: any */
    uint32_t latency;     /**< ST_LATENCY_… */
    uint32_t parallelism; /**< reads in flight at once that help; 0: unknown, 1: one at a time */
    uint32_t reserved0;
    uint64_t reserved[4];
} st_source_info;

enum { ST_LATENCY_UNKNOWN = 0, ST_LATENCY_MEMORY, ST_LATENCY_LOCAL, ST_LATENCY_NETWORK };

/** A piece of memory to fill. */
typedef struct st_segment {
    void *data;
    size_t size;
} st_segment;

enum {
    ST_MAP_SHARED = 1, /**< read-only; shows what others write into the file */
    ST_MAP_PRIVATE = 2 /**< writable; writes stay in this mapping and never reach the file */
};

/**
 * What a source of the caller's own implements. All functions are called from any thread at once,
 * except `free`, which is called once, last.
 */
typedef struct st_source_vtable {
    size_t size; /**< sizeof(st_source_vtable), so that it can grow */
    /** Tells size and identity; called for every open and after reads. */
    st_status (*info)(void *self, st_source_info *out, st_error *error);
    /** Fills all segments with consecutive bytes from `offset` on, or fails: ST_ERR_SHORT_READ with
     *  the offset at which the bytes ended, ST_ERR_IO with the errno. */
    st_status (*read)(void *self, uint64_t offset, const st_segment *segments, size_t count,
                      st_error *error);
    /** Maps the whole source; NULL: cannot. */
    st_status (*map)(void *self, uint32_t mode, st_context *context, st_buffer **out,
                     st_error *error);
    /** Hints that these bytes will be read; NULL: nothing. */
    void (*prefetch)(void *self, uint64_t offset, uint64_t size);
    /** Gives the descriptor behind the source, or -1; NULL: none. */
    intptr_t (*native)(void *self);
    void (*free)(void *self);
} st_source_vtable;

/** Bytes at positions, counted: a file, a descriptor, memory, or the caller's own. */
typedef struct st_source st_source;

/**
 * Opens a path for reading. Never blocks on a FIFO.
 * @return ST_OK; ST_ERR_IO with the errno; ST_ERR_NOT_REGULAR; ST_ERR_NOMEM.
 */
ST_API ST_WARN_UNUSED st_status st_source_open(const char *path, const st_open_options *options,
                                               st_source **out, st_error *error);
/** Uses a duplicate of a descriptor, which stays the caller's; its file position is neither used nor moved. */
ST_API ST_WARN_UNUSED st_status st_source_open_fd(int fd, const st_open_options *options,
                                                  st_source **out, st_error *error);
/** Takes memory over: its release callback runs with the last reference. On failure it stays the caller's. */
ST_API ST_WARN_UNUSED st_status st_source_open_memory(const st_memory *memory,
                                                      const st_open_options *options,
                                                      st_source **out, st_error *error);
/** Wraps the caller's own source; `self` is its own from then on, and freed with the last reference. */
ST_API ST_WARN_UNUSED st_status st_source_new(const st_source_vtable *vtable, void *self,
                                              const st_open_options *options, st_source **out,
                                              st_error *error);
ST_API st_source *st_source_retain(st_source *source);
ST_API void st_source_release(st_source *source);
/** Gives the name used in messages. */
ST_API const char *st_source_name(const st_source *source);
ST_API ST_WARN_UNUSED st_status st_source_query(st_source *source, st_source_info *out,
                                                st_error *error);
/** Reads exactly `size` bytes at `offset`. @return ST_OK; ST_ERR_SHORT_READ; ST_ERR_IO. */
ST_API ST_WARN_UNUSED st_status st_source_read(st_source *source, uint64_t offset, void *dst,
                                               size_t size, st_error *error);

/* ---------------------------------------------------------------------------------- file */

/** One open file: its source and its header. Immutable. */
typedef struct st_file st_file;

/**
 * Opens a file and validates its header; reads less than 16 KiB beyond the header and no tensor. With a context, a
 * file that was opened with it before and is unchanged, by size, times and identity, is not read again; on a
 * local disk or in memory it is not even opened before something of it is read, which is ST_ERR_CHANGED if
 * another file is there by then.
 * @param options  NULL: the defaults.
 * @return ST_OK; ST_ERR_IO, ST_ERR_NOT_REGULAR, ST_ERR_SHORT_READ, ST_ERR_NOMEM; any status from 20 to
 *         49 for a file that is no valid safetensors file.
 */
ST_API ST_WARN_UNUSED st_status st_file_open(const char *path, const st_open_options *options,
                                             st_file **out, st_error *error);
/** The same from a descriptor, of which a duplicate is used. */
ST_API ST_WARN_UNUSED st_status st_file_open_fd(int fd, const st_open_options *options,
                                                st_file **out, st_error *error);
/** The same from memory, taken over on success: see st_source_open_memory. */
ST_API ST_WARN_UNUSED st_status st_file_open_memory(const st_memory *memory,
                                                    const st_open_options *options, st_file **out,
                                                    st_error *error);
/** The same from any source, of which a reference is added. */
ST_API ST_WARN_UNUSED st_status st_file_open_source(st_source *source,
                                                    const st_open_options *options, st_file **out,
                                                    st_error *error);
/** Closes; buffers and headers that were retained live on. NULL is fine. */
ST_API void st_file_close(st_file *file);

/** Gives the name used in messages: the path, unless the options said another. */
ST_API const char *st_file_name(const st_file *file);
ST_API const st_header *st_file_header(const st_file *file);
ST_API st_source *st_file_source(const st_file *file);
/** Gives the size of the whole file in bytes. */
ST_API uint64_t st_file_size(const st_file *file);
/** The three most used getters of the header. */
ST_API size_t st_file_count(const st_file *file);
ST_API const st_tensor *st_file_at(const st_file *file, size_t index);
ST_API const st_tensor *st_file_find(const st_file *file, const char *name, size_t name_len);
/** Gives a tensor's absolute byte offset in the file. */
ST_API uint64_t st_file_offset(const st_file *file, const st_tensor *tensor);

/**
 * Copies a tensor, or the part of it that `region` describes, into the caller's memory, packed in
 * row-major order.
 * @param region  NULL: the whole tensor.
 * @param size    of `dst`; must equal st_tensor_size or the region's `size`.
 * @return ST_OK; ST_ERR_BUFFER_SIZE; ST_ERR_ARGUMENT for a region of another shape; ST_ERR_SHORT_READ,
 *         ST_ERR_CHANGED, ST_ERR_IO, ST_ERR_NOMEM. After a failure the contents of `dst` are undefined.
 */
ST_API ST_WARN_UNUSED st_status st_file_read(const st_file *file, const st_tensor *tensor,
                                             const st_region *region, void *dst, size_t size,
                                             st_error *error);

/** How a read would be done, and why. */
typedef struct st_explanation {
    uint32_t io;       /**< ST_IO_…, never ST_IO_AUTO */
    uint32_t threads;  /**< at work at once, the caller's included */
    uint32_t depth;    /**< requests in flight per thread */
    uint32_t latency;  /**< ST_LATENCY_… of the source */
    uint64_t unit;     /**< bytes of a request, at most */
    uint64_t bytes;    /**< that will be delivered */
    uint64_t read;     /**< that will be read for it, about: gaps between pieces may be read too */
    uint64_t resident; /**< of the range read, in the page cache, about; UINT64_MAX: unknown */
    /** That the process may still take before the machine or its control group runs out; UINT64_MAX: unknown,
     *  or of no matter to the choice of a load. */
    uint64_t memory;
    char text[400]; /**< one line of UTF-8, terminated: the choice, the figures, what was refused */
    uint64_t reserved[7];
} st_explanation;

/**
 * Tells how st_file_read of the same arguments would get its bytes if it were called now.
 * @param tensor  NULL: all tensors, read as one range of the file; `region` is NULL then.
 * @return ST_OK; ST_ERR_ARGUMENT; ST_ERR_IO; ST_ERR_NOMEM.
 */
ST_API ST_WARN_UNUSED st_status st_file_explain(const st_file *file, const st_tensor *tensor,
                                                const st_region *region, st_explanation *out,
                                                st_error *error);

/** Receives one block; a status other than ST_OK ends the read and is returned from it. */
typedef st_status (*st_block_fn)(void *ctx, const void *data, size_t size, st_error *error);

/**
 * Hands the same bytes as st_file_read to a callback, block after block in order, on the caller's
 * thread and in memory bounded by the context's budget. Whole elements, except in a whole read of a
 * tensor of unknown dtype.
 */
ST_API ST_WARN_UNUSED st_status st_file_read_blocks(const st_file *file, const st_tensor *tensor,
                                                    const st_region *region, st_block_fn block,
                                                    void *ctx, st_error *error);

/**
 * Maps the whole file; a tensor's bytes are at st_file_offset. Private maps reserve no swap.
 * @param mode  ST_MAP_SHARED or ST_MAP_PRIVATE.
 * @return ST_OK; ST_ERR_UNSUPPORTED if the source cannot be mapped; ST_ERR_TOO_BIG; ST_ERR_IO;
 *         ST_ERR_CHANGED if the file's size is no longer that of the open; ST_ERR_NOMEM.
 */
ST_API ST_WARN_UNUSED st_status st_file_map(const st_file *file, uint32_t mode, st_buffer **out,
                                            st_error *error);

/* ---------------------------------------------------------------------------------- sink */

enum {
    /** When st_writer_finish returns, the file and its name survive a power cut. */
    ST_DURABLE_NAME = 0,
    /** The bytes reach the disk before the name does: after a power cut the old file is there or the
     *  new one, whole. */
    ST_DURABLE_FILE = 1,
    /** Nothing is waited for: after a power cut the file may be there without its bytes. */
    ST_DURABLE_NONE = 2
};

enum {
    /** Fail with ST_ERR_IO and EEXIST rather than replace what is there. */
    ST_SINK_NEW = 1
};

enum {
    /** A file of 256 MiB or more that is to be durable is written past the page cache where that can be
     *  done, and is not in the cache afterwards; all others go through the cache and stay. */
    ST_CACHE_AUTO = 0,
    ST_CACHE_KEEP = 1, /**< what was written can be read back from memory */
    /** What was written does not displace what is in the page cache: from 1 MiB on it goes past it where
     *  that can be done, and is dropped from it otherwise once it is on the disk. */
    ST_CACHE_DROP = 2
};

/**
 * Where to write, and how carefully. Zero-initialise; NULL where one is asked for means the same. A file that
 * goes past the page cache takes one of the context's threads, where there is one to spare, and up to 32 MiB
 * of its memory budget, from st_writer_begin until it is finished or given up.
 */
typedef struct st_sink_options {
    uint32_t durability; /**< ST_DURABLE_… */
    uint32_t flags;      /**< ST_SINK_… */
    st_context *context;
    const char *name; /**< for messages, copied; NULL: the path, or "<memory>" and the like */
    uint32_t cache;   /**< ST_CACHE_…, of files */
    uint32_t reserved0;
    uint64_t reserved[7];
} st_sink_options;

/** A piece of memory to write. */
typedef struct st_bytes {
    const void *data;
    size_t size;
} st_bytes;

enum {
    /** Takes bytes in rising order only, each where the last ones ended. */
    ST_SINK_SEQUENTIAL = 1
};

/** What a sink of the caller's own implements. `write` is called from any thread at once, unless the
 *  sink is sequential. */
typedef struct st_sink_vtable {
    size_t size;    /**< sizeof(st_sink_vtable), so that it can grow */
    uint32_t flags; /**< ST_SINK_SEQUENTIAL */
    uint32_t reserved;
    /** Announces how many bytes will be written; called once, first. NULL: nothing to do. */
    st_status (*begin)(void *self, uint64_t size, st_error *error);
    /** Writes all pieces, one behind the other, from `offset` on, or fails. */
    st_status (*write)(void *self, uint64_t offset, const st_bytes *pieces, size_t count,
                       st_error *error);
    /** All bytes have been written: makes them stay. NULL: nothing to do. */
    st_status (*finish)(void *self, st_error *error);
    /** Gives back; where `finish` was not called or failed, nothing of what was written is to remain. */
    void (*free)(void *self);
} st_sink_vtable;

/** Where bytes go, counted: a path, a descriptor, memory, or the caller's own. Takes one file. */
typedef struct st_sink st_sink;

/**
 * Writes a file, whole or not at all: into a temporary file of the same directory, which takes the
 * path's place when st_writer_finish is called, and is gone after any failure. Whoever has the old file
 * open or mapped keeps its bytes.
 *
 * A new file's mode follows the umask; one that is replaced hands on mode, owner, and extended
 * attributes as far as the process may set them. Other hard links to it keep the old bytes. Of a
 * symbolic link the target is replaced, and the link stays; except where the target lies in the
 * `blobs` of a hub cache, where other snapshots share it: there the link itself is replaced. A FIFO or
 * a character device at the path is written to as a stream.
 *
 * A file that an edit in place has left torn (edit.h) is put right first; and one that is being edited so
 * is not replaced.
 *
 * @return ST_OK; ST_ERR_IO with the errno: the directory does not exist or may not be written to, the
 *         path is a directory, an edit in place is under way (EAGAIN), ...; ST_ERR_NOT_REGULAR for a socket
 *         or a block device; ST_ERR_JOURNAL for a file that cannot be put right; ST_ERR_ARGUMENT;
 *         ST_ERR_NOMEM.
 */
ST_API ST_WARN_UNUSED st_status st_sink_open(const char *path, const st_sink_options *options,
                                             st_sink **out, st_error *error);
/**
 * Writes to a duplicate of a descriptor, which stays the caller's. A regular file is written from the
 * descriptor's position on, which st_writer_finish moves behind what was written; anything else, and a file
 * opened with O_APPEND, as a stream. What was written before a failure remains.
 */
ST_API ST_WARN_UNUSED st_status st_sink_open_fd(int fd, const st_sink_options *options,
                                                st_sink **out, st_error *error);
/** Writes to the caller's memory, which must be as large as st_writer_size says, or larger. */
ST_API ST_WARN_UNUSED st_status st_sink_open_memory(void *data, size_t size,
                                                    const st_sink_options *options, st_sink **out,
                                                    st_error *error);
/** Wraps the caller's own sink; `self` is its own from then on, and freed with the last reference. */
ST_API ST_WARN_UNUSED st_status st_sink_new(const st_sink_vtable *vtable, void *self,
                                            const st_sink_options *options, st_sink **out,
                                            st_error *error);
ST_API st_sink *st_sink_retain(st_sink *sink);
/** Drops a reference; the last one discards what was not finished. NULL is fine. */
ST_API void st_sink_release(st_sink *sink);
/** Gives the name used in messages. */
ST_API const char *st_sink_name(const st_sink *sink);

/* -------------------------------------------------------------------------------- writer */

enum {
    /** As upstream writes: by dtype, the wide ones first, then by name. Every tensor of whole-byte
     *  elements then starts at a multiple of its element's size. */
    ST_ORDER_CANONICAL = 0,
    ST_ORDER_ADDED = 1 /**< as st_writer_add was called */
};

/** How to write. Zero-initialise; NULL where one is asked for means the same. */
typedef struct st_writer_options {
    uint32_t order;           /**< ST_ORDER_… */
    uint32_t alignment;       /**< of the data section in the file: 8 to 4096, a power of 2; 0: 8 */
    uint64_t reserve;         /**< at least so many blanks in the header, room for later edits */
    uint64_t max_header_size; /**< 0: ST_HEADER_MAX; at most 4,294,901,759 */
    st_context *context;
    st_progress progress; /**< bytes of the data section; called on whichever thread writes */
    uint64_t reserved[8];
} st_writer_options;

/**
 * One file being written: tensors and metadata are added, the layout follows from them, `begin` writes
 * the header, then the tensors' bytes come in any order, in pieces, from any thread, every byte once, and
 * `finish` makes it a file. Memory does not grow with the data. The bytes are upstream's for the same
 * tensors and metadata. Calls in a wrong order are ST_ERR_ARGUMENT. A call that is refused before any byte
 * of it was written changes nothing (ST_ERR_ARGUMENT, ST_ERR_WRITTEN_TWICE, ST_ERR_INCOMPLETE, ...); after
 * one that failed while writing, the file cannot be finished, and every later call tells the same failure.
 * All but the writing calls are for one thread at a time.
 */
typedef struct st_writer st_writer;

/** Makes a writer to which nothing was added. @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT. */
ST_API ST_WARN_UNUSED st_status st_writer_new(const st_writer_options *options, st_writer **out,
                                              st_error *error);
/** Frees; what was begun and not finished is discarded. NULL is fine. */
ST_API void st_writer_free(st_writer *writer);

/**
 * Adds a tensor. All of `tensor` is copied; `begin` and `end` are not looked at, but for a dtype of
 * st_writer_add_dtype, whose size they tell.
 * @param index  receives the number of the tensor for the calls below, 0, 1, ...
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT for a name that is not UTF-8 or is "__metadata__", or after
 *         st_writer_begin; ST_ERR_DTYPE_UNKNOWN; ST_ERR_OVERFLOW; ST_ERR_MISALIGNED.
 */
ST_API ST_WARN_UNUSED st_status st_writer_add(st_writer *writer, const st_tensor *tensor,
                                              size_t *index, st_error *error);
/**
 * Makes a dtype for a code this library does not know, so that its tensors can be copied; the same code
 * gives the same dtype. Its tensors are laid out after all others.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT for a code that is known, empty, or not UTF-8.
 */
ST_API ST_WARN_UNUSED st_status st_writer_add_dtype(st_writer *writer, const char *code,
                                                    size_t code_len, st_dtype *out,
                                                    st_error *error);
/**
 * Adds a metadata entry, copied; they are written in the order of their keys. NULL adds none, but makes
 * the file have `__metadata__`, be it empty.
 */
ST_API ST_WARN_UNUSED st_status st_writer_add_metadata(st_writer *writer, const st_metadata *entry,
                                                       st_error *error);

/**
 * Lays the file out and gives its size in bytes.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_NAME_DUPLICATE; ST_ERR_METADATA_DUPLICATE; ST_ERR_OVERFLOW;
 *         ST_ERR_HEADER_TOO_LARGE.
 */
ST_API ST_WARN_UNUSED st_status st_writer_size(st_writer *writer, uint64_t *out, st_error *error);
/** Gives the number of tensors added. */
ST_API size_t st_writer_count(const st_writer *writer);
/** Gives tensor `index`; its `begin` and `end` are right once the file is laid out. */
ST_API const st_tensor *st_writer_at(const st_writer *writer, size_t index);
/** Gives the offset of the data section in the file, once it is laid out; before, 0. */
ST_API uint64_t st_writer_data_offset(const st_writer *writer);

/**
 * Lays the file out, starts the sink, to which a reference is added, and writes the header. For a path
 * the space is set aside first, so that a full disk is told here.
 * @return as st_writer_size; ST_ERR_IO with the errno; ST_ERR_BUFFER_SIZE for memory that is too small;
 *         ST_ERR_ARGUMENT for a sink that was used before.
 */
ST_API ST_WARN_UNUSED st_status st_writer_begin(st_writer *writer, st_sink *sink, st_error *error);

/**
 * Writes `size` bytes of a tensor from its byte `offset` on. The memory is the caller's again afterwards; that
 * they could not be written may be told only by a later call, or by st_writer_finish.
 * @return ST_OK; ST_ERR_WRITTEN_TWICE; ST_ERR_ARGUMENT for bytes outside of the tensor; ST_ERR_IO; ST_ERR_NOMEM;
 *         ST_ERR_TOO_BIG where a stream was given more bytes out of order than the context's memory
 *         budget holds; ST_ERR_STOPPED.
 */
ST_API ST_WARN_UNUSED st_status st_writer_write(st_writer *writer, size_t index, uint64_t offset,
                                                const void *data, size_t size, st_error *error);
/**
 * Writes a whole tensor out of an array of any strides, packing it block by block.
 * @return also ST_ERR_ARGUMENT where dtype or shape differ from what was added; ST_ERR_INDEX_MISALIGNED for
 *         sub-byte rows that do not end at byte boundaries; ST_ERR_UNSUPPORTED for another device.
 */
ST_API ST_WARN_UNUSED st_status st_writer_write_array(st_writer *writer, size_t index,
                                                      const st_array *array, st_error *error);

/** One tensor to copy: all of tensor `index` is filled with `tensor`, or the part of it in `region`. */
typedef struct st_copy {
    size_t index;
    const st_tensor *tensor;
    const st_region *region; /**< NULL: the whole tensor */
} st_copy;

/**
 * Copies tensors out of another file, without their bytes passing through this process where the file
 * system can do that: shared blocks first (reflink), then a copy by the kernel, else reads and writes.
 * Neighbours are moved together.
 * @return as st_writer_write and st_file_read; ST_ERR_BUFFER_SIZE where sizes differ; ST_ERR_JOURNAL for a
 *         file that an edit in place has left torn, or is just overwriting: st_edit_recover puts it right.
 */
ST_API ST_WARN_UNUSED st_status st_writer_copy_from(st_writer *writer, const st_file *file,
                                                    const st_copy *copies, size_t count,
                                                    st_error *error);

/**
 * Ends the file: checks that every byte was written, makes it as durable as the sink's options ask, and
 * puts it in its place. On failure the file that was there before is still there, unchanged, except
 * that after ST_DURABLE_NAME's last step fails (its message says so) the new one is, whole.
 * @return ST_OK; ST_ERR_INCOMPLETE; ST_ERR_IO; ST_ERR_JOURNAL while that file is edited in place, or where such an edit
 *         was interrupted meanwhile; a failure of an earlier call.
 */
ST_API ST_WARN_UNUSED st_status st_writer_finish(st_writer *writer, st_error *error);

#ifdef __cplusplus
}
#endif

#endif
