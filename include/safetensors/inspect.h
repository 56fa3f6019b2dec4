/* SPDX-License-Identifier: Apache-2.0 */
/**
 * inspect.h: what the tools ask of a file beyond its tensors. Library: safetensors-inspect.
 *
 * st_check reads a file's header the way st_file_open does, by the same parser, but goes on
 * after each deviation and reports all of them, so that a damaged file is described whole; st_salvage of salvage.h saves
 * what can be saved of such a file.
 * st_stats_read counts and measures the values of a tensor. st_hashes_read computes digests of a file and
 * of its tensors, and a manifest keeps them, to verify files by later. st_files_compare tells what two files have
 * not in common, and how far their values are apart. st_header_search finds names and metadata by a rule.
 *
 * The calls that read tensors use as many threads as their file's context allows, memory within its
 * budget, and give the same results however many threads there are. Besides that budget st_stats_read keeps
 * some 24 bytes per 192 KiB of the tensor, st_hashes_read and st_manifest_verify about 100 bytes per tensor,
 * st_sides_compare as many, and 8 bytes per 16,384 elements of the largest one.
 */
#ifndef SAFETENSORS_INSPECT_H
#define SAFETENSORS_INSPECT_H

#include <safetensors/edit.h>
#include <safetensors/finding.h>
#include <safetensors/json.h>
#include <safetensors/safetensors.h>
#include <safetensors/salvage.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Checks a file's framing, header and layout; reads no tensor. With ST_OPEN_UPSTREAM in the options'
 * flags the file is judged by upstream's rules: what only we refuse becomes a warning.
 * @param finding  called for each deviation, in the order of the checks; NULL: only count.
 * @return ST_OK when the check ran, whatever it found; ST_ERR_IO, ST_ERR_SHORT_READ, ST_ERR_NOMEM;
 *         ST_ERR_STOPPED if the callback ended it.
 */
ST_API ST_WARN_UNUSED st_status st_check(st_source *source, const st_open_options *options,
                                         st_finding_fn finding, void *ctx, st_check_summary *out,
                                         st_error *error);

/* --------------------------------------------------------------------------------- stats */

enum {
    ST_QUANTILES_MAX = 1024, /**< probabilities of one call */
    ST_BINS_MAX = 65536      /**< of one histogram */
};

/** What to compute beyond the counts and moments. Zero-initialise; NULL means the same. */
typedef struct st_stats_options {
    /** Probabilities, 0 to 1; `quantile_count` of them, at most ST_QUANTILES_MAX. */
    const double *quantiles;
    uint32_t quantile_count;
    uint32_t bin_count; /**< of the histogram, at most ST_BINS_MAX; 0: no histogram */
    /** Its range: finite, and not falling; widened where it is empty. Both 0: from min to max. */
    double low;
    double high;
    st_progress progress; /**< bytes read; a tensor may have to be read several times */
    uint64_t reserved[8];
} st_stats_options;

/**
 * What a tensor's values are. Each element counts as the number it stands for: a BOOL as 0 or 1, a sub-byte
 * element as what it decodes to, a C64 as its absolute value (NaN if a part is NaN, else infinite if a part is).
 *
 * min, max, mean, std, quantiles, and histogram are of the finite values. Minimum, maximum, and quantiles are exact.
 * The moments are computed in double, block by block in the tensor's order, the same on every machine and for any
 * number of threads; asking for quantiles or a histogram as well may change their last digits.
 */
typedef struct st_stats {
    st_dtype dtype;
    uint32_t reserved0;
    uint64_t count; /**< elements */
    uint64_t finite;
    uint64_t nan;
    uint64_t positive_infinity;
    uint64_t negative_infinity;
    uint64_t zeros;     /**< both signs */
    uint64_t negatives; /**< below zero, negative infinity included */
    st_value min;       /**< kind 0 where nothing is finite; of a C64: ST_KIND_FLOAT */
    st_value max;
    double mean; /**< NaN where nothing is finite */
    double std;  /**< of the population: the mean square's root, divided by `finite` */
    /** One per probability asked for: between the two nearest order statistics, interpolated linearly, as
     *  numpy.quantile does; NaN where nothing is finite. */
    const double *quantiles;
    const uint64_t *
        bins; /**< [low, high) in equal parts, the last one with `high` in it; as numpy.histogram */
    uint32_t quantile_count;
    uint32_t bin_count;
    double low; /**< the histogram's range */
    double high;
    uint64_t below; /**< finite values outside of it */
    uint64_t above;
    void *memory; /**< the library's own, as is all below */
    size_t memory_size;
    st_context *context;
    uint64_t reserved[4];
} st_stats;

/**
 * Reads a tensor, or the part of it that `region` describes, and computes its statistics. Dtypes of up to
 * 16 bits are read once, and so are small tensors. Quantiles of wider ones take another reading, of 64-bit
 * ones up to three, and more where many are asked for and the context's memory is small; a histogram whose
 * range is to be found takes one, the same.
 * @return ST_OK, and `out` is to be given back with st_stats_release; ST_ERR_DTYPE_UNKNOWN; ST_ERR_ARGUMENT;
 *         as st_file_read; ST_ERR_STOPPED by the progress callback.
 */
ST_API ST_WARN_UNUSED st_status st_stats_read(const st_file *file, const st_tensor *tensor,
                                              const st_region *region,
                                              const st_stats_options *options, st_stats *out,
                                              st_error *error);
/** Frees what st_stats_read made; a zeroed one is fine. */
ST_API void st_stats_release(st_stats *stats);

/* ---------------------------------------------------------------------------------- hash */

/**
 * The algorithms. X(NAME, number, name, bytes of a digest). SHA-256 is FIPS 180-4's, and what the hub calls a
 * file's `sha256`; XXH3 and XXH128 are the 64 and 128 bits wide XXH3 with seed 0, in their canonical
 * (big-endian) form, as `xxhsum -H3` and `-H2` print: fast, but no protection against forgery.
 */
#define ST_HASH_MAP(X)              \
 X(ST_HASH_SHA256, 1, "sha256", 32) \
 X(ST_HASH_XXH3, 2, "xxh3", 8)      \
 X(ST_HASH_XXH128, 3, "xxh128", 16)

typedef int32_t st_hash;

#define ST_HASH_ENUM(name, number, text, bytes) name = number,
enum { ST_HASH_MAP(ST_HASH_ENUM) };
#undef ST_HASH_ENUM

/** Finds an algorithm by its name; 0 if there is none. */
ST_API st_hash st_hash_find(const char *name, size_t name_len);
/** Gives the name, terminated; NULL for a number that is no algorithm. */
ST_API const char *st_hash_name(st_hash hash);

/** A digest; `size` 0: none. */
typedef struct st_digest {
    uint32_t size;
    unsigned char bytes[36]; /**< zero behind `size` */
} st_digest;

/** Prints a digest in small hexadecimal digits. @return the length of the text, which is terminated; 0 if it does not fit. */
ST_API size_t st_digest_format(const st_digest *digest, char *text, size_t size);

enum {
    ST_HASH_FILE = 1,   /**< all bytes of the file */
    ST_HASH_DATA = 2,   /**< the data section */
    ST_HASH_TENSORS = 4 /**< each tensor's bytes */
};

/** What to hash. Zero-initialise. */
typedef struct st_hash_options {
    st_hash hash;   /**< 0: ST_HASH_SHA256 */
    uint32_t parts; /**< ST_HASH_FILE | ...; 0: ST_HASH_FILE */
    st_progress progress;
    uint64_t reserved[8];
} st_hash_options;

/** The digests of one file. */
typedef struct st_hashes {
    st_hash hash;
    uint32_t parts;
    st_digest file;
    st_digest data;
    const st_digest *tensors; /**< by the index of st_header_at; NULL unless asked for */
    size_t count;
    void *memory; /**< the library's own, as is all below */
    size_t memory_size;
    st_context *context;
    uint64_t reserved[4];
} st_hashes;

/**
 * Hashes a file. Parts are hashed side by side, each by one thread while others read ahead.
 * @return ST_OK, and `out` is to be given back with st_hashes_release; ST_ERR_UNSUPPORTED for SHA-256 in a
 *         build without libcrypto; as st_file_read; ST_ERR_STOPPED by the progress callback.
 */
ST_API ST_WARN_UNUSED st_status st_hashes_read(const st_file *file, const st_hash_options *options,
                                               st_hashes *out, st_error *error);
/** Frees what st_hashes_read made; a zeroed one is fine. */
ST_API void st_hashes_release(st_hashes *hashes);

/* ------------------------------------------------------------------------------ manifest */

/** What files were, to verify them by: sizes, dtypes, shapes, digests. docs/manifest.md describes its JSON. */
typedef struct st_manifest st_manifest;

/** One file of a manifest. Borrowed from it. */
typedef struct st_manifest_file {
    const char *name; /**< terminated; relative to where the manifest lies */
    size_t name_len;
    uint64_t size;
    uint32_t parts; /**< ST_HASH_…: which digests there are */
    uint32_t reserved0;
    st_digest file;
    st_digest data;
    size_t tensor_count;
    uint64_t reserved[4];
} st_manifest_file;

/** Starts an empty manifest. */
ST_API ST_WARN_UNUSED st_status st_manifest_new(st_context *context, st_hash hash,
                                                st_manifest **out, st_error *error);
ST_API void st_manifest_free(st_manifest *manifest);
/**
 * Adds a file with its digests.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_ARGUMENT for another algorithm, digests of another file, or a name that
 *         is there already, empty, longer than 65,535 bytes, or not UTF-8.
 */
ST_API ST_WARN_UNUSED st_status st_manifest_add(st_manifest *manifest, const char *name,
                                                const st_file *file, const st_hashes *hashes,
                                                st_error *error);
/**
 * Parses a manifest's JSON.
 * @param name  for messages; may be NULL.
 * @return ST_OK; ST_ERR_NOMEM; ST_ERR_JSON with the offset for text that is no JSON or no manifest.
 */
ST_API ST_WARN_UNUSED st_status st_manifest_parse(st_context *context, const char *text, size_t len,
                                                  const char *name, st_manifest **out,
                                                  st_error *error);
/** Writes a manifest as JSON: the same text for the same contents. @return ST_OK; a failure of `write`; ST_ERR_NOMEM. */
ST_API ST_WARN_UNUSED st_status st_manifest_emit(const st_manifest *manifest,
                                                 st_json_write_fn write, void *ctx,
                                                 st_error *error);
ST_API st_hash st_manifest_hash(const st_manifest *manifest);
ST_API size_t st_manifest_count(const st_manifest *manifest);
ST_API const st_manifest_file *st_manifest_at(const st_manifest *manifest, size_t index);
/** Finds a file by its name. @return its index; st_manifest_count if there is none, of which st_manifest_at gives NULL. */
ST_API size_t st_manifest_find(const st_manifest *manifest, const char *name, size_t name_len);

enum {
    ST_DIFFERENCE_SIZE = 1,    /**< of the file */
    ST_DIFFERENCE_FILE = 2,    /**< the digest of the whole file */
    ST_DIFFERENCE_DATA = 3,    /**< the digest of the data section */
    ST_DIFFERENCE_MISSING = 4, /**< a tensor of the manifest that the file has not */
    ST_DIFFERENCE_EXTRA = 5,   /**< a tensor of the file that the manifest has not */
    ST_DIFFERENCE_DTYPE = 6,
    ST_DIFFERENCE_SHAPE = 7,
    ST_DIFFERENCE_TENSOR = 8 /**< the digest of a tensor */
};

/** Gives the name of a kind: "size", "file", "data", "missing", "extra", "dtype", "shape" or "tensor"; NULL: there is no
 *  such. */
ST_API const char *st_difference_name(int32_t kind);

/** One difference between a manifest and a file. Valid during the callback. */
typedef struct st_difference {
    int32_t kind; /**< ST_DIFFERENCE_… */
    uint32_t reserved0;
    const char *name; /**< the tensor's, or NULL */
    size_t name_len;
    st_digest
        expected; /**< the manifest's, and the file's; `size` 0 where it is not about digests */
    st_digest found;
    const char *message; /**< one line, terminated */
    uint64_t reserved[4];
} st_difference;

/** Receives one difference; false ends the verifying. Called on the caller's thread. */
typedef bool (*st_difference_fn)(void *ctx, const st_difference *difference);

/** How to verify. Zero-initialise; NULL means the same. */
typedef struct st_verify_options {
    st_difference_fn difference; /**< NULL: only count */
    void *ctx;
    st_progress progress;
    uint64_t reserved[8];
} st_verify_options;

/**
 * Compares a file with entry `index` of a manifest, hashing what the manifest has digests of.
 * @param differences  receives how many there are; 0: the file is what it was.
 * @return ST_OK when the file was looked through, whatever was found; as st_hashes_read; ST_ERR_STOPPED.
 */
ST_API ST_WARN_UNUSED st_status st_manifest_verify(const st_manifest *manifest, size_t index,
                                                   const st_file *file,
                                                   const st_verify_options *options,
                                                   uint64_t *differences, st_error *error);

/* ------------------------------------------------------------------------------- compare */

/** A tensor, and the file that it lies in. */
typedef struct st_side_tensor {
    const st_file *file;
    const st_tensor *tensor;
} st_side_tensor;

/**
 * One of two sides that are compared: tensors of different names, out of any number of files, and metadata. All of it
 * is the caller's, and borrowed during the call.
 */
typedef struct st_side {
    const char *name; /**< for messages */
    const st_side_tensor *tensors;
    size_t tensor_count;
    const st_metadata *metadata;
    size_t metadata_count;
    uint64_t reserved[4];
} st_side;

enum {
    ST_COMPARE_METADATA = 1,
    ST_COMPARE_TENSORS = 2, /**< which there are, of what dtypes and shapes, and where */
    ST_COMPARE_VALUES = 4   /**< their bytes, which takes ST_COMPARE_TENSORS with it */
};

enum {
    /** Elements are the same where |a - b| <= atol + rtol * |b|; without it, where their bits are. */
    ST_COMPARE_CLOSE = 1,
    /** NaN is the same as NaN of other bits, or of another dtype. NaN of the same bits always is. */
    ST_COMPARE_EQUAL_NAN = 2,
    /** Another dtype is no difference by itself: the numbers are compared. */
    ST_COMPARE_CAST = 4,
    /** Another offset, or another order, is a difference. */
    ST_COMPARE_PLACES = 8,
    /** Tensors that are in one side only are looked for in the other under another name: of the same dtype, shape, and
     *  bytes. */
    ST_COMPARE_RENAMES = 16,
    /** The comparing ends at the first difference: what is told and counted then is not all. */
    ST_COMPARE_BRIEF = 32
};

enum {
    /** The dtype is unknown: count, different, and first are of bytes, and nothing else is known. */
    ST_DEVIATION_BYTES = 1
};

/**
 * How far the values of two tensors of one shape are apart. a is the first, b the second, by which errors are
 * relative. A BOOL counts as 0 or 1. Of a C64 each part is compared by itself: the larger error counts, and NaN or
 * infinity of either part. Elements are numbered in row-major order.
 *
 * The numbers are exact but for the rounding of each difference, quotient, and sum to a double, and the same on every
 * machine and for any number of threads.
 */
typedef struct st_deviation {
    uint64_t count;     /**< elements */
    uint64_t different; /**< of other bits; of two dtypes: of another value, as NaN and NaN are */
    uint64_t beyond;    /**< of these, not within the tolerance; of bytes: 0 */
    uint64_t nan_a;     /**< of the different: NaN in a only, in b only, in both */
    uint64_t nan_b;
    uint64_t nan_both;
    uint64_t infinite;   /**< of the different: infinite in either, and not the same infinity */
    uint64_t first;      /**< the first different one; UINT64_MAX: none */
    double max_absolute; /**< the largest |a - b| of all others, 0 where none differs */
    uint64_t max_absolute_at; /**< the first such; UINT64_MAX: none is above 0 */
    uint64_t
        max_integer; /**< of two integer dtypes or BOOL: max_absolute exactly, at most UINT64_MAX */
    double mean_absolute; /**< of all elements that have one; NaN where none has */
    double max_relative;  /**< the largest |a - b| / |b| where b is not 0 */
    uint64_t max_relative_at;
    uint32_t flags; /**< ST_DEVIATION_… */
    uint32_t same;  /**< 1: under the options they count as the same */
    uint64_t reserved[4];
} st_deviation;

enum {
    ST_CHANGE_REMOVED = 1, /**< only in a */
    ST_CHANGE_ADDED = 2,   /**< only in b */
    ST_CHANGE_RENAMED = 3, /**< a tensor of ST_COMPARE_RENAMES */
    ST_CHANGE_CHANGED = 4  /**< in both, but not alike */
};

enum {
    ST_APART_DTYPE = 1,
    ST_APART_SHAPE = 2,
    ST_APART_VALUES = 4, /**< elements of other bits, be they close */
    ST_APART_OFFSET = 8, /**< other data_offsets */
    ST_APART_ORDER = 16  /**< another place among the tensors that both sides have */
};

/** One thing that is not alike: a tensor, or a metadata entry. Valid during the callback. */
typedef struct st_change {
    int32_t kind;     /**< ST_CHANGE_… */
    uint32_t parts;   /**< of a tensor that changed: ST_APART_… */
    uint32_t differs; /**< 1: it counts as a difference; 0: it is only to be known */
    uint32_t reserved0;
    const st_side_tensor *a; /**< NULL: it is not there, or this is about metadata */
    const st_side_tensor *b;
    const st_metadata *metadata_a; /**< NULL: it is not there, or this is about a tensor */
    const st_metadata *metadata_b;
    const st_deviation *values; /**< NULL: the values were not compared */
    uint64_t reserved[4];
} st_change;

/** Receives one change; false ends the comparing. Called on the caller's thread. */
typedef bool (*st_change_fn)(void *ctx, const st_change *change);

/** How to compare. Zero-initialise; NULL means the same. */
typedef struct st_compare_options {
    uint32_t parts; /**< ST_COMPARE_METADATA | ...; 0: all */
    uint32_t flags; /**< ST_COMPARE_CLOSE | ... */
    double atol;    /**< both finite, and not below 0 */
    double rtol;
    st_change_fn change; /**< NULL: only count */
    void *ctx;
    st_progress progress; /**< bytes read of both sides */
    uint64_t reserved[8];
} st_compare_options;

/** What a comparison came to. */
typedef struct st_compare_summary {
    uint64_t differences; /**< changes that count as such; 0: the two are the same */
    uint64_t same;        /**< tensors in both, and of these such as count as the same */
    uint64_t changed;     /**< and such as do not */
    uint64_t removed;     /**< tensors in a only, without the renamed ones */
    uint64_t added;
    uint64_t renamed;
    uint64_t moved; /**< tensors in both, at another offset or in another order */
    uint64_t metadata_same;
    uint64_t metadata_changed;
    uint64_t metadata_removed;
    uint64_t metadata_added;
    uint64_t elements;  /**< whose values were compared */
    uint64_t different; /**< the sum of the deviations' */
    uint64_t beyond;
    uint64_t reserved[8];
} st_compare_summary;

/**
 * Compares two sides. Metadata comes first, in the order of a, and what only b has in its order; then the tensors in the
 * same way. Values are compared where dtype and shape agree (under ST_COMPARE_CAST: where the shape does), bytes first,
 * numbers where these differ. Memory, threads, and strategies of reading are those of the files' contexts.
 * @return ST_OK when all was compared, whatever was found; ST_ERR_ARGUMENT; ST_ERR_NAME_DUPLICATE for a tensor or a key
 *         that a side has twice; as st_file_read; ST_ERR_STOPPED by a callback.
 */
ST_API ST_WARN_UNUSED st_status st_sides_compare(const st_side *a, const st_side *b,
                                                 const st_compare_options *options,
                                                 st_compare_summary *out, st_error *error);
/** The same of two files, with all of their tensors and metadata. */
ST_API ST_WARN_UNUSED st_status st_files_compare(const st_file *a, const st_file *b,
                                                 const st_compare_options *options,
                                                 st_compare_summary *out, st_error *error);
/**
 * Compares the values of two tensors of one shape, of any two known dtypes. Of the options, those about values hold.
 * @return ST_OK; ST_ERR_ARGUMENT, also for two shapes; ST_ERR_DTYPE_UNKNOWN for two dtypes of which one is; as
 *         st_file_read; ST_ERR_STOPPED by the progress callback.
 */
ST_API ST_WARN_UNUSED st_status st_tensors_compare(const st_side_tensor *a, const st_side_tensor *b,
                                                   const st_compare_options *options,
                                                   st_deviation *out, st_error *error);

/* ------------------------------------------------------------------------------ recorded */

/**
 * Digests of a file's tensors, as an entry of the file's own metadata: its key is "st.hash." and the algorithm's name,
 * its value the JSON text that a manifest has of the file's tensors, by their names. It tells nothing of the
 * other metadata, nor of the order of the tensors. docs/manifest.md describes it.
 */
typedef struct st_hash_record {
    st_metadata entry; /**< for st_edit_set_metadata or st_writer_add_metadata */
    void *memory;      /**< the library's own, as is all below */
    size_t memory_size;
    st_context *context;
    uint64_t reserved[4];
} st_hash_record;

/**
 * Makes the entry that records digests.
 * @param hashes  of this file; with ST_HASH_TENSORS among its parts.
 * @return ST_OK, and `record` is to be given back with st_hash_record_release; ST_ERR_NOMEM; ST_ERR_ARGUMENT for
 *         digests of another file; ST_ERR_TOO_BIG for a text of 4 GiB or more.
 */
ST_API ST_WARN_UNUSED st_status st_hash_record_init(st_hash_record *record, const st_file *file,
                                                    const st_hashes *hashes, st_error *error);
/** Frees what st_hash_record_init made; a zeroed one is fine. */
ST_API void st_hash_record_release(st_hash_record *record);
/**
 * Puts a record into an edit, in the place of all that are in its file: they may be of tensors as they were.
 * @param file  that the edit was made of, and the record.
 * @return as st_edit_set_metadata.
 */
ST_API ST_WARN_UNUSED st_status st_hash_record_set(const st_hash_record *record,
                                                   const st_file *file, st_edit *edit,
                                                   st_error *error);
/** Tells whether a metadata key is that of a record, of an algorithm known or not. */
ST_API bool st_hash_record_is(const char *key, size_t key_len);
/**
 * Compares a file with the digests recorded in its metadata, those of each known algorithm, and tells the differences as
 * st_manifest_verify does.
 * @param records      receives how many records there are of algorithms known; 0: nothing was compared.
 * @param differences  receives how many differences there are.
 * @return ST_OK when the file was looked through, whatever was found; ST_ERR_JSON for a record that is none; as
 *         st_hashes_read; ST_ERR_STOPPED.
 */
ST_API ST_WARN_UNUSED st_status st_hash_record_verify(const st_file *file,
                                                      const st_verify_options *options,
                                                      uint64_t *records, uint64_t *differences,
                                                      st_error *error);

/* -------------------------------------------------------------------------------- search */

/** What texts of a header are searched. */
enum {
    ST_SEARCH_NAMES = 1, /**< of the tensors */
    ST_SEARCH_KEYS = 2,  /**< of the metadata */
    ST_SEARCH_VALUES = 4
};

/** The bytes of a text from `begin` up to `end`. */
typedef struct st_match {
    uint64_t begin;
    uint64_t end;
} st_match;

/** A tensor or a metadata entry in which something was found. Valid during the callback. */
typedef struct st_found {
    const st_tensor *tensor;     /**< NULL: it is an entry */
    const st_metadata *metadata; /**< NULL: it is a tensor */
    uint32_t parts;              /**< ST_SEARCH_…: in which of its texts */
    uint32_t reserved0;
    st_match name;  /**< the first match in the tensor's name or the entry's key */
    st_match value; /**< that in the entry's value */
    uint64_t reserved[4];
} st_found;

/** Receives one; false ends the search. Called on the caller's thread. */
typedef bool (*st_found_fn)(void *ctx, const st_found *found);

/** What to search. Zero-initialise; NULL means the same. */
typedef struct st_search_options {
    st_found_fn found; /**< NULL: only count */
    void *ctx;
    uint64_t max;   /**< end after so many; 0: never */
    uint32_t parts; /**< ST_SEARCH_…; 0: all */
    uint32_t reserved0;
    st_progress progress; /**< bytes of text */
    uint64_t reserved[8];
} st_search_options;

/**
 * Searches names and metadata of a file, tensors in the order of their data and then entries in the order of the
 * header; in each text the first match counts, and of those the longest.
 *
 * A rule other than ST_NAME_GLOB looks at a text of more than 16 KiB in stretches of that size, each of which begins in
 * the middle of the one before: a match of more than 8 KiB may not be found there. So memory stays within some
 * hundred KiB, and what the C library makes of one stretch, which an expression can make grow with the square of
 * its size, is the longest time between two calls of the progress.
 * @param rule   its replacement means nothing here.
 * @param count  receives how many tensors and entries were found; NULL: not asked.
 * @return ST_OK, whatever was found; ST_ERR_NOMEM; ST_ERR_ARGUMENT for parts that are not known; ST_ERR_STOPPED.
 */
ST_API ST_WARN_UNUSED st_status st_header_search(const st_header *header, const st_name_rule *rule,
                                                 const st_search_options *options, uint64_t *count,
                                                 st_error *error);

#ifdef __cplusplus
}
#endif

#endif
