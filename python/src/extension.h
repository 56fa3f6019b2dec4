/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extension.h: what the files of the extension module share.
 *
 *     module.c      the module: its state, its functions, what it exports
 *     fork.c        what a fork of the process wants of it
 *     errors.c      the library's errors as Python exceptions
 *     dtypes.c      one table of names: header code, TensorSpec, NumPy, torch, DLPack
 *     arguments.c   paths, devices, frameworks and file objects out of Python arguments
 *     source.c      what is opened, as the library's source;  memory.c: the type _Memory, counted memory
 *     file.c        one open file (type _File): its source, its mapping, its framework
 *     safe_open.c   the types safe_open and _safe_open_handle: a file as the user sees it
 *     slice.c       the type PySafeSlice;  index.c: Python indices as st_index
 *     meta.c        the type TensorMeta;   spec.c: the type TensorSpec
 *     deliver.c     a file's tensors as arrays of its framework: views and copies
 *     loading.c     many tensors or parts of them in one load, which keeps the GIL free
 *     tensors.c     many of them as a dict;  read_into.c: one into the user's own array
 *     prefetch.c    many of them read at once, for the Python side
 *     load.c        deserialize and load: files whose bytes are in memory
 *     numpy.c       arrays out of memory, and memory out of arrays
 *     torch.c       tensors out of memory (torch's DLPack tables), and memory out of tensors
 *     dlpack.h      the DLPack structures;  dlpack.c: memory of ours for any consumer
 *     gather.h      what is to be written;  gather.c: a dict of tensors as entries
 *     *_gather.c    one value as an entry: of NumPy, of torch, of any other that speaks DLPack
 *     save.c        serialize, serialize_file and _save;  file_sink.c: writing to Python's file objects
 *     writer.c      the type _Writer: a file written tensor by tensor
 *     check.c       _check, _check_checkpoint: what is wrong with a file, or with many
 *     edit.h        edit.c and edit_*.c: _edit, files changed by a list of steps;  making.c: how files are made
 *     inputs.h      files and checkpoints by their paths
 *     watch.h       long calls: their signals, and their progress
 *     checkpoint.c  _split, _merge and _cat: many files as one
 *     compare.c     _compare: how two files differ;  salvage.c: _salvage: what can be saved of one
 *     hash.c        _hash and its kin: digests, and what is compared with them
 *     stats.c       _stats: what the values of tensors are
 *
 * Conventions. stpy_* is shared between files, the rest is static. A function that returns PyObject *
 * gives a new reference, or NULL with an exception set; one that returns int gives 0, or -1 with an
 * exception set. The limited API of Python 3.11 only, except where Py_GIL_DISABLED is defined. No
 * static Python objects: all of them are in the module's state. The GIL is released around all I/O
 * and around copies of 64 KiB and more.
 */
#ifndef STPY_EXTENSION_H
#define STPY_EXTENSION_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <safetensors/load.h>
#include <safetensors/safetensors.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* In free-threaded builds what is made lazily is made under the object's lock. */
#ifdef Py_GIL_DISABLED
# define STPY_BEGIN_LOCKED(object) Py_BEGIN_CRITICAL_SECTION(object)
# define STPY_END_LOCKED()         Py_END_CRITICAL_SECTION()
#else
# define STPY_BEGIN_LOCKED(object) {
# define STPY_END_LOCKED()         }
#endif

/* A function with keywords, as an entry of a method table. */
#define STPY_WITH_KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))

/* From this size on a copy in memory releases the GIL. */
#define STPY_LONG_COPY ((size_t)64 << 10)

/* ------------------------------------------------------------------------ module.c: state */

/* X(symbol): the strings that are looked up over and over, interned once. */
#define STPY_NAME_MAP(X)      \
 X(__array_struct__)          \
 X(__dlpack__)                \
 X(__dlpack_device__)         \
 X(__dlpack_c_exchange_api__) \
 X(dtype)                     \
 X(name)                      \
 X(fileno)                    \
 X(read)                      \
 X(readinto)                  \
 X(seek)                      \
 X(tell)                      \
 X(write)                     \
 X(is_neg)                    \
 X(is_conj)                   \
 X(view)                      \
 X(reshape)                   \
 X(shape)                     \
 X(device)                    \
 X(items)                     \
 X(data_ptr)                  \
 X(data_offsets)              \
 X(start)                     \
 X(stop)                      \
 X(step)

enum stpy_name {
#define STPY_NAME_ENUM(symbol) STPY_NAME_##symbol,
    STPY_NAME_MAP(STPY_NAME_ENUM)
#undef STPY_NAME_ENUM
        STPY_NAME_COUNT
};

/* What numpy.c keeps: looked up at the first array. */
typedef struct stpy_numpy {
    PyObject *ndarray;                    /* the type; NULL: NumPy was not needed yet */
    PyObject *dtypes[ST_DTYPE_COUNT + 1]; /* by st_dtype; NULL: not looked up yet, or none */
} stpy_numpy;

/* What torch.c keeps: looked up at the first tensor. */
typedef struct stpy_torch {
    PyObject *tensor;    /* the type torch.Tensor; NULL: torch was not needed yet */
    PyObject *parameter; /* torch.nn.Parameter */
    PyObject *dtypes[ST_DTYPE_COUNT + 1]; /* by st_dtype; NULL: this torch has none */
    const void *exchange;                 /* DLPack's C exchange table; NULL: by capsules */
    PyObject *from_capsule;               /* torch._C._from_dlpack */
    uint32_t refused;                     /* bit d: this torch refuses dtype d through DLPack */
} stpy_torch;

typedef struct stpy_state {
    st_context *context;
    struct stpy_state *fork_next; /* fork.c's: of another module */
    PyObject *error;              /* SafetensorError */
    PyTypeObject *file_type;
    PyTypeObject *safe_open_type;
    PyTypeObject *handle_type; /* _safe_open_handle */
    PyTypeObject *slice_type;
    PyTypeObject *meta_type;
    PyTypeObject *spec_type;
    PyTypeObject *memory_type;
    PyTypeObject *writer_type;
    PyObject *names[STPY_NAME_COUNT];
    stpy_numpy numpy;
    stpy_torch torch;
} stpy_state;

stpy_state *stpy_state_of_module(PyObject *module);
/* The state behind an instance of one of our types, none of which can be subclassed. */
stpy_state *stpy_state_of(PyObject *self);
/* Imports `module` and gives its attribute. */
PyObject *stpy_import(const char *module, const char *attribute);
/* Whether the program has imported `module`: nobody has an instance of what is not there. Not so where
 * sys.modules has None, which forbids the import. */
bool stpy_is_imported(const char *module);

/* --------------------------------------------------------------------------------- fork.c */

/* Makes forks of the process heed the module's context, until it leaves. */
int stpy_fork_join(stpy_state *state);
/* Nothing where it did not join. */
void stpy_fork_leave(stpy_state *state);

/* ------------------------------------------------------------------------------- errors.c */

/* What failed, which decides the class and the beginning of the message. */
enum stpy_action {
    STPY_OPEN,        /* "Error while deserializing header: ..."; the system's refusals: OSError */
    STPY_DESERIALIZE, /* "Error while deserializing: ..." */
    STPY_READ,        /* SafetensorError with the library's message; the system's: OSError */
    STPY_SAVE, /* "Error while serializing: ..."; the system's: both SafetensorError and OSError */
    STPY_EDIT, /* the library's message alone; the system's: both SafetensorError and OSError */
    STPY_SLICE /* the library's message alone */
};

/* Raises what the library reported; `path` (NULL: none) becomes the OSError's filename. Always NULL. If a
 * Python exception is already set (a callback raised it), that one stays. */
void *stpy_raise(stpy_state *state, const st_error *error, enum stpy_action action, PyObject *path);
/* Raises SafetensorError with a text made as by PyErr_Format. Always NULL. */
void *stpy_raise_text(stpy_state *state, const char *format, ...);
/* The same, of the class that is the built-in one as well: SafetensorIndexError, SafetensorKeyError,
 * SafetensorValueError. */
void *stpy_raise_variant(stpy_state *state, PyObject *builtin, const char *format, ...);
/* Clears the exception that is set, if any, where a failed question is an answer. -1: it says nothing of the
 * question (MemoryError, or no Exception at all, such as KeyboardInterrupt), and stays set. */
int stpy_forgive(void);
/* Whether `path` is a directory now; -1 with an exception. */
int stpy_is_directory(PyObject *path);
/* Makes the class SafetensorPermissionError (and so on for each of OSError's subclasses), or NULL with
 * AttributeError for a name that is none of these: behind the module's __getattr__. */
PyObject *stpy_error_class(stpy_state *state, PyObject *module, const char *name);

/* ------------------------------------------------------------------------------- dtypes.c */

/* One dtype's names elsewhere. */
typedef struct stpy_dtype {
    const char
        *name; /* "float32": TensorSpec's, NumPy's, ml_dtypes' and torch's; F6: ml_dtypes' only */
    uint8_t dl_code; /* DLPack: type code, bits, lanes */
    uint8_t dl_bits;
    uint8_t dl_lanes;
    bool in_spec;  /* TensorSpec takes the name */
    bool in_torch; /* torch has it, in some version */
    bool in_numpy; /* NumPy has it itself; else ml_dtypes does */
} stpy_dtype;

/* The entry of a known dtype. */
const stpy_dtype *stpy_dtype_of(st_dtype dtype);
/* Finds a dtype by `name`; 0 if there is none. */
st_dtype stpy_dtype_find(const char *name, size_t name_len);
/* Finds a dtype by its code, in either case, or by `name`; 0 if there is none. */
st_dtype stpy_dtype_named(const char *text);

/* ---------------------------------------------------------------------------- arguments.c */

enum stpy_framework { STPY_TORCH, STPY_NUMPY, STPY_TENSORFLOW, STPY_FLAX, STPY_MLX, STPY_PADDLE };
enum stpy_backend { STPY_MMAP, STPY_PREAD, STPY_DIRECT, STPY_AUTO };

/* The arguments of safe_open, checked in upstream's order and with its texts. */
typedef struct stpy_open_arguments {
    PyObject *source; /* as given: a path, a file object, a descriptor or a buffer */
    enum stpy_framework framework;
    enum stpy_backend backend;
    PyObject *device; /* owned: what torch takes ("cuda:0", 1), or NULL for the CPU */
    bool packed;      /* F4 and F6 as bytes in NumPy, instead of one value per element */
} stpy_open_arguments;

/* Whether an object has an attribute: 1 or 0; -1 where asking failed. */
int stpy_has(PyObject *object, const char *attribute);
/* Raises TypeError: `object` is not `wanted` ("an instance of 'str'"). Always NULL. */
void *stpy_raise_type(const char *argument, PyObject *object, const char *wanted);
/* Read one argument each; `object` NULL or None: the default. */
int stpy_framework_read(stpy_state *state, PyObject *object, enum stpy_framework *out);
int stpy_backend_read(stpy_state *state, PyObject *object, enum stpy_backend *out);
/* NULL in *out for the CPU (also "cpu:0" and torch.device("cpu")). */
int stpy_device_read(stpy_state *state, PyObject *object, enum stpy_framework framework,
                     PyObject **out);
/* "pytorch", "numpy": as in upstream's messages. */
const char *stpy_framework_text(enum stpy_framework framework);
/* "mmap" and so on: as the argument is given. */
const char *stpy_backend_text(enum stpy_backend backend);

/* The arguments of a method's call, parsed by hand as this happens for each tensor of a model. */
typedef struct stpy_call {
    const char *method;
    PyObject *const *args;
    Py_ssize_t count;
    PyObject *keywords; /* their names, or NULL */
} stpy_call;
/* Reads `name`, and `*out`, which stays as it is unless given; `out` NULL: the method takes none. */
int stpy_call_read(const stpy_call *c, PyObject **name, PyObject **out);

/* Where to write or read. */
typedef struct stpy_place {
    PyObject *path;     /* owned bytes for the file system, or NULL */
    PyObject *shown;    /* owned str, for messages; or NULL */
    PyObject *file;     /* borrowed file object, or NULL */
    PyObject *contents; /* borrowed object whose buffer is the whole file, or NULL */
    int fd;             /* descriptor, or -1 */
} stpy_place;
/* Accepts str and os.PathLike as a path, an int as a descriptor, an object with fileno() or read/write as a
 * file (in text mode too, if fileno() works) and, for reading, a buffer as a file's contents. Bytes are a
 * buffer only if they begin as a file does: they may be meant for a path, which upstream refuses. */
int stpy_place_read(stpy_state *state, PyObject *object, bool reading, stpy_place *out);
void stpy_place_release(stpy_place *place);

/* ------------------------------------------------------------------------------- memory.c */

/*
 * _Memory: Python's reference to an st_buffer, for the buffer protocol. NumPy's arrays are views of it and
 * keep it alive; it has no close(). Takes over one reference of `buffer`, also on failure.
 */
PyObject *stpy_memory_new(stpy_state *state, st_buffer *buffer, bool readonly);
st_buffer *stpy_memory_buffer(PyObject *memory); /* borrowed */
/* Fresh memory, not zeroed, in huge pages where it is large; `size` 0 gives an empty buffer. */
st_buffer *stpy_buffer_alloc(stpy_state *state, uint64_t size);
/* A buffer over an object that supports the buffer protocol, whose export is held for the buffer's whole
 * life and given back under the GIL, whichever thread drops the last reference. */
st_buffer *stpy_buffer_of_object(stpy_state *state, PyObject *object, bool *readonly);
/* Asks for huge pages in fresh memory that is about to be filled. */
void stpy_huge_pages(void *data, size_t size);

/* -------------------------------------------------------------------------------- source.c */

/* Opens a place, of a file object what its descriptor leads to, or what read() gives. */
st_source *stpy_source_open(stpy_state *state, const stpy_place *place);
/* A source over memory; takes one reference of `buffer` over, also on failure. */
st_source *stpy_source_of_buffer(stpy_state *state, st_buffer *buffer, const char *name);
/* The memory of `buffer`, whose release drops one reference of it. */
st_memory stpy_buffer_memory(st_buffer *buffer);

/* --------------------------------------------------------------------------------- file.c */

/*
 * _File: an open file with what its tensors become. safe_open, PySafeSlice and prefetch loaders each
 * hold a reference, so that slices outlive their file's close().
 */
typedef struct stpy_file {
    PyObject_HEAD st_file *file;
    PyObject *shown;   /* str: the name in messages */
    PyObject *device;  /* what torch takes, or NULL: the CPU */
    PyObject *convert; /* for frameworks behind NumPy: array -> tensor; NULL: not looked up yet */
    PyObject *memory;  /* _Memory over `map`, once NumPy asked for it */
    st_buffer *map;    /* private mapping, made at the first view; NULL: none yet */
    uint8_t *given;    /* a bit per tensor of `map` that NumPy has been given */
    enum stpy_framework framework;
    enum stpy_backend backend; /* as asked for */
    bool maps;                 /* single tensors are views of the mapping */
    bool loads;                /* many tensors are loaded, not seen one by one */
    bool packed;
    bool readonly;   /* `map` may not be written to: a read-only buffer given with copy=False */
    bool unmappable; /* mapping was refused once: read instead */
    bool lent;       /* views of the caller's own memory are asked for, at any alignment */
} stpy_file;

/* Opens what `arguments->source` is. Checks the header; the framework is imported; no tensor is read. */
stpy_file *stpy_file_open(stpy_state *state, const stpy_open_arguments *arguments);
/* Opens over memory: takes one reference of `buffer` over, also on failure. */
stpy_file *stpy_file_open_buffer(stpy_state *state, st_buffer *buffer, bool readonly,
                                 const stpy_open_arguments *arguments);
/* Finds a tensor; NULL with SafetensorError "File does not contain tensor NAME", or TypeError. */
const st_tensor *stpy_file_find(stpy_file *self, PyObject *name);
/* Makes the private mapping, where there is none yet. False, without an exception: read instead. */
bool stpy_file_map(stpy_file *self);
/* What TensorMeta and PySafeSlice are: one of a file's tensors, and a reference of the file. */
typedef struct stpy_tensor_ref {
    PyObject_HEAD stpy_file *file;
    const st_tensor *tensor; /* of the file's header */
} stpy_tensor_ref;

PyObject *stpy_tensor_ref_new(PyTypeObject *type, stpy_file *file, const st_tensor *tensor);
void stpy_tensor_ref_dealloc(PyObject *self);
/* Keys in the order of the names; in data order; metadata as a dict or None. */
PyObject *stpy_file_keys(stpy_file *self);
PyObject *stpy_file_offset_keys(stpy_file *self);
PyObject *stpy_file_metadata(stpy_file *self);
/* The header's shape as a list, and its dtype code as a str. */
PyObject *stpy_tensor_shape(const st_tensor *tensor);
PyObject *stpy_tensor_dtype(stpy_file *self, const st_tensor *tensor);

/* ------------------------------------------------------------------------------ deliver.c */

/* A tensor's elements in memory, to become an array. `tensor` fields are those of the result. */
typedef struct stpy_data {
    st_dtype dtype;
    uint32_t ndim;
    const uint64_t *shape; /* in elements, as in the header: not halved for F4 */
    uint64_t size;         /* bytes */
    void *data;
    st_buffer *buffer; /* borrowed: what keeps `data` alive */
    PyObject *memory;  /* borrowed _Memory over `buffer`, or NULL: made when needed */
    const char *name;  /* for messages; NULL: none */
    size_t name_len;
    bool readonly; /* the memory may not be written to */
    bool counted;  /* `shape` counts the bytes of packed F4 or F6 already */
} stpy_data;

/* What a tensor, or a region of what stpy_file_counted gives for it, is to become; the memory is still missing. */
stpy_data stpy_data_of(const stpy_file *self, const st_tensor *tensor, const st_region *region);
/* Raises SafetensorError "tensor NAME: " and a text made as by PyErr_Format. Always NULL. */
void *stpy_data_refuse(stpy_state *state, const stpy_data *data, const char *format, ...);
/* The shape of a tensor as a tuple. */
PyObject *stpy_shape_tuple(const uint64_t *shape, uint32_t ndim);
/* The shape in bytes of packed F4 and F6, whose last dimension shrinks: `data->ndim` items into `out`. -1 with
 * SafetensorError where it does not come to whole bytes. */
int stpy_data_packed_shape(stpy_state *state, const stpy_data *data, uint64_t *out);

/* The tensor as its framework counts it: F4 and F6 in torch, and in NumPy with `packed`, as U8 with the last dimension
 * in bytes; any other is given back as it is. Indices and regions are made for this. *memory is given
 * back with PyMem_Free, when the result is done with. */
const st_tensor *stpy_file_counted(stpy_file *self, const st_tensor *tensor, void **memory);
/* A whole tensor: as view or copy, as backend, framework and alignment ask. */
PyObject *stpy_file_tensor(stpy_file *self, const st_tensor *tensor);
/* The same in the host's memory, whatever the file's device. */
PyObject *stpy_file_host_tensor(stpy_file *self, const st_tensor *tensor);
/* Part of a tensor, read into memory of its own by the native engine: a region of what stpy_file_counted gives. */
PyObject *stpy_file_part(stpy_file *self, const st_tensor *tensor, const st_region *region);
/* Reads a tensor, or a part of it, without the GIL, in the host's order of bytes. */
int stpy_file_fetch(stpy_file *self, const st_tensor *tensor, const st_region *region, void *dst,
                    uint64_t size);
/* The same into memory of its own, which `data` is given: all but the memory is there. On success the caller
 * releases `data->buffer`. */
int stpy_file_read_data(stpy_file *self, const st_tensor *tensor, const st_region *region,
                        stpy_data *data);
/* Memory for `size` bytes of a tensor, which the MemoryError names. */
st_buffer *stpy_data_alloc(stpy_state *state, const stpy_data *data, uint64_t size);
/* Memory of its own for `size` bytes of `data`, which is given it: for all of the tensor `whole`, unless that is NULL.
 * The caller releases `data->buffer`. */
int stpy_data_place(stpy_state *state, stpy_data *data, const stpy_file *file,
                    const st_tensor *whole, uint64_t size);
/* What both come to, called without the GIL: a tensor as its framework counts it, in the host's order of bytes. */
st_status stpy_file_read_counted(const stpy_file *self, const st_tensor *counted,
                                 const st_region *region, void *dst, uint64_t size,
                                 st_error *error);
/* An array of the file's framework out of memory. */
PyObject *stpy_data_array(stpy_state *state, const stpy_data *data, stpy_file *file);

/* Elements lie in files the little-endian way. */
static inline bool stpy_must_swap(st_dtype dtype)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return st_dtype_bits(dtype) > 8;
#else
    (void)dtype;
    return false;
#endif
}

/* Whether the address is one that elements of the dtype may have. */
static inline bool stpy_is_aligned(const void *data, st_dtype dtype)
{
    uint32_t itemsize = st_dtype_bits(dtype) / 8;
    return itemsize <= 1 || (uintptr_t)data % itemsize == 0;
}

/* ------------------------------------------------------------------------------- loading.c */

/* Many things to be loaded, and who takes them. */
typedef struct stpy_loading {
    const st_load_item *items;
    size_t count;
    bool views;         /* what is mapped may be given as it is */
    uint64_t max_ahead; /* as in st_load_options */
    /* Takes one item, with the GIL, in the order of completion; the buffer stays the load's. */
    int (*take)(void *ctx, const st_loaded *done);
    void *ctx;
} stpy_loading;

/* Loads, each file as it was opened for, and waits without the GIL. Where the library fails that is *status and
 * *error, which the caller is to raise; everything else that fails is -1, as is a signal's handler, such as that of
 * Ctrl-C. What has been taken by then stays taken. */
int stpy_loading_run(stpy_state *state, const stpy_loading *loading, st_status *status,
                     st_error *error);
/* Brings elements that were loaded into the host's order of bytes, in their own memory. */
void stpy_loaded_swap(st_dtype dtype, const st_loaded *done);

/* ------------------------------------------------------------------------------- tensors.c */

/* All tensors, or those of `names` (a list of str; NULL: all), as a dict in data order. */
PyObject *stpy_file_tensors(stpy_file *self, PyObject *names);
/* The module's function _load_files(files, names): the same of several files, one list or None for each, as one dict.
 * No name may be in two of them. */
PyObject *stpy_load_files(PyObject *module, PyObject *args);

/* ----------------------------------------------------------------------------- read_into.c */

/* Reads a tensor into the user's array or tensor of the same dtype and shape. */
int stpy_file_read_into(stpy_file *self, const st_tensor *tensor, PyObject *out);
/* Checks that an array or tensor has this dtype and shape: -1 with SafetensorError that names both. */
int stpy_data_match(stpy_state *state, const stpy_data *data, const uint64_t *shape,
                    PyObject *dtype, PyObject *out);

/* ----------------------------------------------------------------------- numpy.c, torch.c */

/* Import the framework, once. */
int stpy_numpy_load(stpy_state *state);
int stpy_torch_load(stpy_state *state);
/* NumPy's dtype object, borrowed; imports ml_dtypes where that has it. */
PyObject *stpy_numpy_dtype(stpy_state *state, st_dtype dtype);
/* An array over `data->memory`, or for unpacked F4 and F6 a new one. */
PyObject *stpy_numpy_array(stpy_state *state, const stpy_data *data, bool packed);
/* Where `out` wants `data`, whose memory is still missing, written to: *target NULL when only by assignment. -1
 * with SafetensorError where dtype or shape differ. NumPy's memory is an export, to be released after it was
 * written to; `target->obj` is NULL when only by assignment. */
int stpy_numpy_target(stpy_state *state, const stpy_data *data, bool packed, PyObject *out,
                      Py_buffer *target);
int stpy_torch_target(stpy_state *state, const stpy_data *data, PyObject *out, void **target);
/* A tensor with a storage of its own over `data`, which holds a reference of `data->buffer`. F4: torch's halved
 * shape; F6, for which torch has no dtype: packed bytes as U8, the last dimension in bytes. */
PyObject *stpy_torch_tensor(stpy_state *state, const stpy_data *data);
/* The module's functions _use_exchange(use) and _refuse_dtypes(codes), by which tests choose the way into torch. */
PyObject *stpy_use_exchange(PyObject *module, PyObject *use);
PyObject *stpy_refuse_dtypes(PyObject *module, PyObject *codes);

/* -------------------------------------------------------------------- spec.c, save.c, writer.c */

/* A sequence of integers from 0 to 2^64-1; *out is given back with PyMem_Free. `what` begins the messages. */
int stpy_shape_read(PyObject *object, const char *what, uint64_t **out, uint32_t *ndim);
/* What save.c and writer.c share: the metadata (a dict of str, or None) into a writer; a sink over a path, a
 * descriptor or a file object, which is stpy_file_sink's. */
int stpy_metadata_add(stpy_state *state, st_writer *writer, PyObject *metadata);
st_sink *stpy_sink_open(stpy_state *state, const stpy_place *place, bool durable,
                        PyThreadState **thread);
/* A sink that hands its bytes to an object's write(), under the GIL. The thread that writes must be the one
 * that called, with `*thread` its state, NULL while it holds the GIL. `file` is borrowed: it has to live as long
 * as the sink, which is released under the GIL. */
st_sink *stpy_file_sink(stpy_state *state, PyObject *file, PyThreadState **thread);

/* ------------------------------------------------------------------------------- dlpack.c */

/* A legacy capsule ("dltensor"), or a versioned one, over `data`. */
PyObject *stpy_dlpack_capsule(stpy_state *state, const stpy_data *data, bool versioned);

/* -------------------------------------------------------- functions and types of the module */

PyObject *stpy_serialize(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *stpy_serialize_file(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *stpy_save(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *stpy_deserialize(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *stpy_load(PyObject *module, PyObject *args, PyObject *kwargs);
/* prefetch.c and check.c. */
PyObject *stpy_read_many(PyObject *module, PyObject *args);
PyObject *stpy_read_many_into(PyObject *module, PyObject *args);
PyObject *stpy_part_of(PyObject *module, PyObject *args);
PyObject *stpy_check(PyObject *module, PyObject *args);
PyObject *stpy_check_checkpoint(PyObject *module, PyObject *args);
/* edit.c */
PyObject *stpy_edit_file(PyObject *module, PyObject *args);
/* recover.c */
PyObject *stpy_recover(PyObject *module, PyObject *args);
/* checkpoint.c */
PyObject *stpy_split(PyObject *module, PyObject *args);
PyObject *stpy_merge(PyObject *module, PyObject *args);
PyObject *stpy_cat(PyObject *module, PyObject *args);
PyObject *stpy_size_parse(PyObject *module, PyObject *object);
/* Of findings: a severity's name; and a text, which is shown where it is not UTF-8, or None. */
const char *stpy_severity_text(int32_t severity);
PyObject *stpy_shown_object(const char *text, size_t size);
/* inputs.c, compare.c, salvage.c, stats.c, hash.c */
PyObject *stpy_checkpoint_read(PyObject *module, PyObject *path);
PyObject *stpy_compare(PyObject *module, PyObject *args);
PyObject *stpy_salvage(PyObject *module, PyObject *args);
PyObject *stpy_salvage_checkpoint(PyObject *module, PyObject *args);
PyObject *stpy_stats(PyObject *module, PyObject *args);
PyObject *stpy_hash(PyObject *module, PyObject *args);
PyObject *stpy_manifest_names(PyObject *module, PyObject *args);
PyObject *stpy_hash_verify(PyObject *module, PyObject *args);
/* grep.c */
PyObject *stpy_name_rule(PyObject *module, PyObject *args);
PyObject *stpy_search(PyObject *module, PyObject *args);

extern PyType_Spec stpy_file_spec, stpy_safe_open_spec, stpy_handle_spec, stpy_slice_spec,
    stpy_meta_spec, stpy_tensor_spec_spec, stpy_memory_spec, stpy_writer_spec;

/* slice.c, meta.c */
/* Whether there is something: always, as upstream's objects have no length. */
int stpy_true(PyObject *self);
PyObject *stpy_slice_new(stpy_file *file, const st_tensor *tensor);
PyObject *stpy_meta_new(stpy_file *file, const st_tensor *tensor);

/* index.c: a Python index as st_index items. */
enum stpy_index_kind {
    STPY_INDEX_FAILED = -1,
    STPY_INDEX_BASIC = 0, /* integers, slices, Ellipsis, None */
    STPY_INDEX_OTHER = 1  /* arrays, masks, ...: the framework's own indexing is asked */
};
typedef struct stpy_index {
    st_index items[64];
    size_t count;
    bool empty_list; /* the index was [] */
} stpy_index;
/* Judges and converts; big integers saturate in slices, as NumPy's do. `strict`: a stop beyond the dimension in a
 * slice without start and step is refused with upstream's pinned text. What is BASIC lies within `tensor`. */
int stpy_index_read(stpy_state *state, PyObject *object, const st_tensor *tensor, bool strict,
                    stpy_index *out);
/* Whether torch takes the slices in it: it refuses negative steps, and breaks on huge numbers. */
int stpy_index_suits_torch(stpy_state *state, PyObject *object);

#endif
