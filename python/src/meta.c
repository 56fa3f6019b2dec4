/* SPDX-License-Identifier: Apache-2.0 */
/* The type TensorMeta: what the header says of one tensor. */
#include "extension.h"

PyObject *stpy_meta_new(stpy_file *file, const st_tensor *tensor)
{
    return stpy_tensor_ref_new(stpy_state_of((PyObject *)file)->meta_type, file, tensor);
}

static PyObject *meta_dtype(PyObject *self, void *closure)
{
    (void)closure;
    return stpy_tensor_dtype(((stpy_tensor_ref *)self)->file, ((stpy_tensor_ref *)self)->tensor);
}

static PyObject *meta_shape(PyObject *self, void *closure)
{
    (void)closure;
    return stpy_tensor_shape(((stpy_tensor_ref *)self)->tensor);
}

static PyObject *meta_data_offsets(PyObject *self, void *closure)
{
    const st_tensor *tensor = ((stpy_tensor_ref *)self)->tensor;
    (void)closure;
    return Py_BuildValue("(KK)", (unsigned long long)tensor->begin,
                         (unsigned long long)tensor->end);
}

static PyObject *meta_repr(PyObject *self)
{
    const st_tensor *tensor = ((stpy_tensor_ref *)self)->tensor;
    PyObject *dtype = meta_dtype(self, NULL);
    PyObject *shape = dtype ? stpy_tensor_shape(tensor) : NULL;
    PyObject *text = NULL;
    if (shape)
        text = PyUnicode_FromFormat(
            "TensorMeta { dtype: \"%U\", shape: %R, data_offsets: (%llu, %llu) }", dtype, shape,
            (unsigned long long)tensor->begin, (unsigned long long)tensor->end);
    Py_XDECREF(shape);
    Py_XDECREF(dtype);
    return text;
}

static PyGetSetDef meta_getset[] = {
    {"dtype", meta_dtype, NULL, "The dtype's code in the header, such as `\"F32\"`.", NULL},
    {"shape", meta_shape, NULL, "The shape, a new list.", NULL},
    {"data_offsets", meta_data_offsets, NULL,
     "Where the bytes begin and end, counted from the start of the data section.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot meta_slots[] = {
    {Py_tp_doc, (void *)"What a file's header says of one tensor."},
    {Py_tp_dealloc, (void *)stpy_tensor_ref_dealloc},
    {Py_tp_repr, (void *)meta_repr},
    {Py_tp_getset, meta_getset},
    {0, NULL},
};

PyType_Spec stpy_meta_spec = {
    .name = "safetensors.TensorMeta",
    .basicsize = sizeof(stpy_tensor_ref),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = meta_slots,
};
