/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dlpack.h: the structures of the DLPack standard, version 1.3, as far as they are needed: memory described
 * for other libraries, and the C table by which torch (from 2.10 on) makes tensors of it without a
 * Python call. Layouts and numbers are the standard's (https://dmlc.github.io/dlpack/latest/c_api.html).
 */
#ifndef STPY_DLPACK_H
#define STPY_DLPACK_H

#include "extension.h"

enum { DL_CPU = 1 }; /* device type */

enum { /* type codes */
       DL_INT = 0,
       DL_UINT = 1,
       DL_FLOAT = 2,
       DL_BFLOAT = 4,
       DL_COMPLEX = 5,
       DL_BOOL = 6,
       DL_FLOAT8_E4M3FN = 10,
       DL_FLOAT8_E4M3FNUZ = 11,
       DL_FLOAT8_E5M2 = 12,
       DL_FLOAT8_E5M2FNUZ = 13,
       DL_FLOAT8_E8M0FNU = 14,
       DL_FLOAT6_E2M3FN = 15,
       DL_FLOAT6_E3M2FN = 16,
       DL_FLOAT4_E2M1FN = 17
};

typedef struct dl_version {
    uint32_t major;
    uint32_t minor;
} dl_version;

typedef struct dl_device {
    int32_t type;
    int32_t id;
} dl_device;

typedef struct dl_dtype {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} dl_dtype;

typedef struct dl_tensor {
    void *data; /* NULL where there are no elements */
    dl_device device;
    int32_t ndim;
    dl_dtype dtype;
    int64_t *shape;
    int64_t *strides; /* in elements; NULL: packed, in versions before 1.2 */
    uint64_t byte_offset;
} dl_tensor;

/* What a capsule "dltensor" holds; one that was taken is called "used_dltensor". */
typedef struct dl_managed {
    dl_tensor tensor;
    void *owner;
    void (*deleter)(struct dl_managed *self);
} dl_managed;

enum { DL_READ_ONLY = 1 }; /* flags */

/* What a capsule "dltensor_versioned" holds; taken: "used_dltensor_versioned". */
typedef struct dl_managed_versioned {
    dl_version version;
    void *owner;
    void (*deleter)(struct dl_managed_versioned *self);
    uint64_t flags;
    dl_tensor tensor;
} dl_managed_versioned;

/* The C exchange table, in the capsule "dlpack_exchange_api" of the tensor type's attribute
 * __dlpack_c_exchange_api__. Static, so that a pointer to it may be kept. */
typedef struct dl_exchange {
    dl_version version;
    struct dl_exchange *previous; /* of an older version, or NULL */
    int (*alloc)(dl_tensor *prototype, dl_managed_versioned **out, void *error,
                 void (*set_error)(void *error, const char *kind, const char *message));
    /* An owned description of a tensor. */
    int (*managed_of)(void *object, dl_managed_versioned **out);
    /* A tensor over `managed`, which is the tensor's own from then on. */
    int (*tensor_of)(dl_managed_versioned *managed, void **out);
    /* A borrowed description of a tensor; may be NULL. */
    int (*borrow)(void *object, dl_tensor *out);
    int (*stream)(int32_t device_type, int32_t device_id, void **out);
} dl_exchange;

/*
 * Memory handed to another library: one block with both forms of the description, which drops its
 * reference of the buffer when the deleter runs. That may be on any thread, without the GIL, even
 * after the interpreter's end, so nothing in it is Python's.
 *
 * torch is of two minds on who frees after a failed import: with a negative dimension the caller has
 * to, with an overflowing product the deleter has already run. While `guarded`, a deleter only
 * leaves a note, and the one who set it frees, whatever happened.
 */
typedef struct stpy_managed {
    union {
        dl_managed legacy;
        dl_managed_versioned versioned;
    } as;
    st_buffer *buffer;
    bool guarded;
    bool released;  /* the deleter ran while guarded */
    int64_t dims[]; /* shape, then strides */
} stpy_managed;

/* How a tensor is described to the other side. */
enum stpy_form {
    STPY_EXACT, /* by its own dtype */
    STPY_BYTES, /* as U8: of the same shape where elements are single bytes, else flat */
};

/* Describes `data`, of which the buffer gains a reference; NULL with SafetensorError where the dimensions
 * do not fit DLPack's signed ones. */
stpy_managed *stpy_managed_new(stpy_state *state, const stpy_data *data, enum stpy_form form,
                               bool versioned);
/* Frees it, for the guard. */
void stpy_managed_free(stpy_managed *managed);
/* Ends the guard: the other library owns it now. */
void stpy_managed_hand_over(stpy_managed *managed);

/* A capsule around it, which has no destructor: for an import under guard. */
PyObject *stpy_managed_capsule(stpy_managed *managed);

#endif
