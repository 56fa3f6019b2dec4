/* SPDX-License-Identifier: Apache-2.0 */
/* gather.h: what is to be written, as gather.c and its kin find it in memory, and save.c and writer.c write it. */
#ifndef STPY_GATHER_H
#define STPY_GATHER_H

#include "extension.h"

/* One tensor to write. */
typedef struct stpy_entry {
    const char *name; /* borrowed from `key` */
    uint32_t name_len;
    st_array array;  /* shape and strides are owned by the entries' arena; strides NULL: packed */
    uint64_t size;   /* bytes of the packed elements */
    PyObject *key;   /* owned */
    PyObject *value; /* owned: keeps the memory alive */
} stpy_entry;

/* Which values a gatherer takes; any other is odd. */
enum {
    STPY_TAKE_SPECS = 1,
    STPY_TAKE_NUMPY = 2,
    STPY_TAKE_TORCH = 4,
    STPY_TAKE_DLPACK = 8, /* of any other library */
    STPY_TAKE_STRIDED =
        16, /* torch tensors that are not contiguous; NumPy's arrays always may be so */
    STPY_TAKE_ALL = 31
};

typedef struct stpy_entries {
    stpy_entry *at;
    size_t count;
    size_t capacity;
    void *arena; /* shapes and strides, in blocks; given back whole */
} stpy_entries;

/* Room for `n` dimensions that lives as long as the entries. */
uint64_t *stpy_entries_dims(stpy_entries *entries, size_t n);
void stpy_entries_release(stpy_entries *entries);

/* What a gatherer says of one value. */
enum stpy_gathered {
    STPY_FAILED = -1, /* an exception is set */
    STPY_ODD = 0,     /* not plain: the Python side has to make it plain, or refuse it */
    STPY_PLAIN = 1
};
/* What the exception that is set says of a value: odd, unless stpy_forgive does not forgive it. */
static inline int stpy_odd_error(void)
{
    return stpy_forgive() ? STPY_FAILED : STPY_ODD;
}
/* Fill `entry->array`, `size` and `value`. Exact types only; anything with a hook of its own is odd. */
int stpy_spec_gather(stpy_state *state, PyObject *value, stpy_entries *entries, stpy_entry *entry);
int stpy_numpy_gather(stpy_state *state, PyObject *value, stpy_entries *entries, stpy_entry *entry);
int stpy_torch_gather(stpy_state *state, PyObject *value, stpy_entries *entries, stpy_entry *entry);
int stpy_dlpack_gather(stpy_state *state, PyObject *value, stpy_entries *entries,
                       stpy_entry *entry);

/* The same for memory that DLPack describes, on the host, of a dtype that is known: not `value`. */
struct dl_tensor;
int stpy_dl_gather(const struct dl_tensor *tensor, st_dtype dtype, stpy_entries *entries,
                   stpy_entry *entry);

/* A dict of specs, arrays and tensors as entries. *odd receives (a new reference) the first key whose value
 * is odd, or NULL; then `out` is empty. `take`: STPY_TAKE_... */
int stpy_gather(stpy_state *state, PyObject *dict, unsigned take, stpy_entries *out,
                PyObject **odd);
/* One value as an entry without a key. */
int stpy_gather_value(stpy_state *state, PyObject *value, unsigned take, stpy_entries *entries,
                      stpy_entry *entry);
/* The name of a tensor, as the writer takes it; borrowed from `name`, which is a str. */
int stpy_name_read(PyObject *name, const char **text, uint32_t *len);
/* Checks that an entry has the bytes that `tensor`, of the same dtype and shape, takes. */
int stpy_entry_check(stpy_state *state, PyObject *name, const stpy_entry *entry,
                     const st_tensor *tensor);
/* Writes it as the writer's tensor `index`; called without the GIL. */
st_status stpy_entry_write(st_writer *writer, size_t index, const stpy_entry *entry,
                           st_error *error);
/* Describes an entry's memory whose `shape` is set: sets `size`, and `strides` to NULL where they are those
 * of packed elements. False: its size in bits exceeds 64 bits. */
bool stpy_entry_measure(stpy_entry *entry);
/* Whether two of the entries share memory, by an interval sort with a running maximum. */
bool stpy_entries_overlap(const stpy_entries *entries);

#endif
