/* SPDX-License-Identifier: Apache-2.0 */
/* The module safetensors._safetensors_rust: its state, and what it offers. */
#include "extension.h"

stpy_state *stpy_state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

stpy_state *stpy_state_of(PyObject *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

PyObject *stpy_import(const char *module, const char *attribute)
{
    PyObject *imported = PyImport_ImportModule(module);
    if (!imported)
        return NULL;
    PyObject *found = PyObject_GetAttrString(imported, attribute);
    Py_DECREF(imported);
    return found;
}

bool stpy_is_imported(const char *module)
{
    PyObject *found = PyDict_GetItemString(PyImport_GetModuleDict(), module); /* borrowed */
    return found && found != Py_None;
}

/* ---------------------------------------------------------------------- made when asked for */

/* Written in Python, and imported at their first use only. */
static PyObject *lazy_attribute(PyObject *module, const char *name)
{
    static const char *const names[] = {"PrefetchLoader", "TensorStream"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) {
            PyObject *found = stpy_import("safetensors._prefetch", name);
            if (found && PyModule_AddObjectRef(module, name, found))
                Py_CLEAR(found);
            return found;
        }
    return stpy_error_class(stpy_state_of_module(module), module, name);
}

static PyObject *module_getattr(PyObject *module, PyObject *name)
{
    if (!PyUnicode_Check(name))
        return PyErr_Format(PyExc_TypeError, "attribute name must be a str");
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    return text ? lazy_attribute(module, text) : NULL;
}

/* ------------------------------------------------------------------------------- functions */

PyDoc_STRVAR(serialize_doc, "serialize(tensor_dict, metadata=None)\n--\n\n"
                            "Serializes tensors described by `TensorSpec` into bytes.\n\n"
                            "Args:\n"
                            "    tensor_dict (`Dict[str, TensorSpec]`):\n"
                            "        The tensors; the memory they point at is read once.\n"
                            "    metadata (`Dict[str, str]`, *optional*):\n"
                            "        Text that is kept in the header.\n\n"
                            "Returns:\n"
                            "    `bytes`: the file's bytes.\n");
PyDoc_STRVAR(serialize_file_doc,
             "serialize_file(tensor_dict, filename, metadata=None)\n--\n\n"
             "Serializes tensors described by `TensorSpec` into a file, whole or not at all.\n\n"
             "Args:\n"
             "    tensor_dict (`Dict[str, TensorSpec]`):\n"
             "        The tensors; the memory they point at is read once.\n"
             "    filename (`str`, or `os.PathLike`):\n"
             "        The file to write.\n"
             "    metadata (`Dict[str, str]`, *optional*):\n"
             "        Text that is kept in the header.\n");
PyDoc_STRVAR(deserialize_doc,
             "deserialize(bytes)\n--\n\n"
             "Splits a file's bytes into its tensors.\n\n"
             "Args:\n"
             "    bytes (`bytes`):\n"
             "        The bytes of a whole file; any object that offers a buffer will do.\n\n"
             "Returns:\n"
             "    `List[Tuple[str, Dict[str, Any]]]`: name and `shape`, `dtype` and `data` (a new\n"
             "    `bytearray`) of each tensor, in data order.\n");
PyDoc_STRVAR(save_doc,
             "_save(tensors, target, metadata=None, *, durable=False, alone=False, only=None, "
             "strided=False)\n--\n\n"
             "Writes specs, arrays and tensors; NotImplemented where one of them is not plain.\n");
PyDoc_STRVAR(load_doc, "_load(data, framework, *, copy=None, packed=False)\n--\n\n"
                       "The tensors of a file's bytes as a dict.\n");
PyDoc_STRVAR(getattr_doc, "__getattr__(name)\n--\n\nImports what is written in Python.\n");

static PyMethodDef module_methods[] = {
    {"serialize", STPY_WITH_KEYWORDS(stpy_serialize), METH_VARARGS | METH_KEYWORDS, serialize_doc},
    {"serialize_file", STPY_WITH_KEYWORDS(stpy_serialize_file), METH_VARARGS | METH_KEYWORDS,
     serialize_file_doc},
    {"deserialize", STPY_WITH_KEYWORDS(stpy_deserialize), METH_VARARGS | METH_KEYWORDS,
     deserialize_doc},
    {"_save", STPY_WITH_KEYWORDS(stpy_save), METH_VARARGS | METH_KEYWORDS, save_doc},
    {"_load", STPY_WITH_KEYWORDS(stpy_load), METH_VARARGS | METH_KEYWORDS, load_doc},
    {"_load_files", stpy_load_files, METH_VARARGS,
     "_load_files(files, names)\n--\n\nThe tensors of several files, or some of each, as one "
     "dict.\n"},
    {"_check", stpy_check, METH_VARARGS,
     "_check(source, upstream)\n--\n\nA file's deviations from the format, and what was seen of "
     "it.\n"},
    {"_check_checkpoint", stpy_check_checkpoint, METH_VARARGS,
     "_check_checkpoint(path, upstream)\n--\n\nThe same of each file of a folder or an index, and "
     "of the index.\n"},
    {"_edit", stpy_edit_file, METH_VARARGS,
     "_edit(path, out, steps, making, in_place, strict)\n--\n\nChanges a file by a list of steps: "
     "what it came to, and what each cast lost.\n"},
    {"_recover", stpy_recover, METH_VARARGS,
     "_recover(path, dry_run)\n--\n\nPuts right what interrupted edits have left, and tells what "
     "it "
     "was.\n"},
    {"_split", stpy_split, METH_VARARGS,
     "_split(path, folder, max_size, count, pattern, clean, making)\n--\n\nWrites shards and their "
     "index: the index's name, of each shard name, size and tensors, and the names of older shards "
     "that were removed.\n"},
    {"_merge", stpy_merge, METH_VARARGS,
     "_merge(path, out, making)\n--\n\nWrites a checkpoint as one file.\n"},
    {"_cat", stpy_cat, METH_VARARGS,
     "_cat(inputs, out, metadata, making)\n--\n\nWrites several files as one: `inputs` are tuples "
     "of a path and a prefix.\n"},
    {"_size_parse", stpy_size_parse, METH_O,
     "_size_parse(text)\n--\n\nA size in bytes out of a text such as 5GB.\n"},
    {"_compare", stpy_compare, METH_VARARGS,
     "_compare(a, b, parts, flags, rtol, atol, picked, progress)\n--\n\nHow two files or "
     "checkpoints "
     "differ: metadata, tensors, and a summary.\n"},
    {"_salvage", stpy_salvage, METH_VARARGS,
     "_salvage(path, out, progress)\n--\n\nSaves what can be saved of a damaged file: what became "
     "of each thing, and a summary.\n"},
    {"_salvage_checkpoint", stpy_salvage_checkpoint, METH_VARARGS,
     "_salvage_checkpoint(path, folder, dry_run, progress)\n--\n\nThe same of each file of a "
     "folder "
     "or an index, and of the index: tuples of its path, whether it is the index, what became of "
     "each "
     "thing, and numbers; and the sums.\n"},
    {"_name_rule", stpy_name_rule, METH_VARARGS,
     "_name_rule(pattern, kind)\n--\n\nA rule that matches names.\n"},
    {"_search", stpy_search, METH_VARARGS,
     "_search(rule, path, parts, max)\n--\n\nWhat of a file's header a rule is found in: tuples of "
     "a name and a span, and of key, value and their spans.\n"},
    {"_stats", stpy_stats, METH_VARARGS,
     "_stats(path, wanted, picked, quantiles, bins, low, high, progress)\n--\n\nWhat the values of "
     "tensors "
     "are: `wanted` are tuples of a name and an index.\n"},
#if STPY_HASHES
    {"_hash", stpy_hash, METH_VARARGS,
     "_hash(inputs, algorithm, parts, manifest, total, progress)\n--\n\nThe digests of files, and "
     "a manifest of them: `inputs` are tuples of a path and a name.\n"},
    {"_manifest_names", stpy_manifest_names, METH_VARARGS,
     "_manifest_names(text, name)\n--\n\nThe names of the files in a manifest.\n"},
    {"_hash_verify", stpy_hash_verify, METH_VARARGS,
     "_hash_verify(inputs, text, name, total, progress)\n--\n\nHow files differ from a manifest's "
     "text, or from their own records: `inputs` are a path and an index each.\n"},
#endif
    {"_checkpoint", stpy_checkpoint_read, METH_O,
     "_checkpoint(path)\n--\n\nA checkpoint's index, its files with their tensors, and its "
     "metadata.\n"},
    {"_read_many", stpy_read_many, METH_VARARGS,
     "_read_many(file, names, indices)\n--\n\nReads tensors, or parts of them, into memory of "
     "their own: a list of tensors and exceptions.\n"},
    {"_read_many_into", stpy_read_many_into, METH_VARARGS,
     "_read_many_into(file, names, indices, buffer)\n--\n\nThe same bytes, one behind the other, "
     "into a buffer: a list of None and exceptions.\n"},
    {"_part_of", stpy_part_of, METH_VARARGS,
     "_part_of(file, name, index)\n--\n\nShape and bytes of a part of a tensor.\n"},
    {"_use_exchange", stpy_use_exchange, METH_O,
     "_use_exchange(use)\n--\n\nWhether torch's tensors are made by its C table; for tests.\n"},
    {"_refuse_dtypes", stpy_refuse_dtypes, METH_O,
     "_refuse_dtypes(codes)\n--\n\nThe dtypes that torch is taken to refuse through DLPack; for "
     "tests.\n"},
    {"__getattr__", module_getattr, METH_O, getattr_doc},
    {NULL, NULL, 0, NULL},
};

/* ----------------------------------------------------------------------------------- state */

/* X(member), Y(array, length): every object of the state. */
#define STATE_OBJECT_MAP(X, Y)       \
 X(error)                            \
 X(file_type)                        \
 X(safe_open_type)                   \
 X(handle_type)                      \
 X(slice_type)                       \
 X(meta_type)                        \
 X(spec_type)                        \
 X(memory_type)                      \
 X(writer_type)                      \
 X(numpy.ndarray)                    \
 X(torch.tensor)                     \
 X(torch.parameter)                  \
 X(torch.from_capsule)               \
 Y(names, STPY_NAME_COUNT)           \
 Y(numpy.dtypes, ST_DTYPE_COUNT + 1) \
 Y(torch.dtypes, ST_DTYPE_COUNT + 1)

static int state_visit(stpy_state *state, visitproc visit, void *arg)
{
#define VISIT(member) Py_VISIT(state->member);
#define VISIT_ALL(array, length)               \
 for (size_t i = 0; i < (size_t)(length); i++) \
  Py_VISIT(state->array[i]);
    STATE_OBJECT_MAP(VISIT, VISIT_ALL)
#undef VISIT_ALL
#undef VISIT
    return 0;
}

static void state_clear(stpy_state *state)
{
#define CLEAR(member) Py_CLEAR(state->member);
#define CLEAR_ALL(array, length)               \
 for (size_t i = 0; i < (size_t)(length); i++) \
  Py_CLEAR(state->array[i]);
    STATE_OBJECT_MAP(CLEAR, CLEAR_ALL)
#undef CLEAR_ALL
#undef CLEAR
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    stpy_state *state = stpy_state_of_module(module);
    return state ? state_visit(state, visit, arg) : 0;
}

static int module_clear(PyObject *module)
{
    stpy_state *state = stpy_state_of_module(module);
    if (state)
        state_clear(state);
    return 0;
}

static void module_free(void *module)
{
    stpy_state *state = stpy_state_of_module(module);
    module_clear(module);
    if (state) {
        stpy_fork_leave(state);
        st_context_release(state->context);
        state->context = NULL;
    }
}

/* -------------------------------------------------------------------------------- the start */

static int add_names(stpy_state *state)
{
    static const char *const texts[] = {
#define NAME_TEXT(symbol) #symbol,
        STPY_NAME_MAP(NAME_TEXT)
#undef NAME_TEXT
    };
    for (size_t i = 0; i < STPY_NAME_COUNT; i++) {
        state->names[i] = PyUnicode_InternFromString(texts[i]);
        if (!state->names[i])
            return -1;
    }
    return 0;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **out)
{
    *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *out ? 0 : -1;
}

static int add_types(PyObject *module, stpy_state *state)
{
    if (add_type(module, &stpy_file_spec, &state->file_type) ||
        add_type(module, &stpy_safe_open_spec, &state->safe_open_type) ||
        add_type(module, &stpy_handle_spec, &state->handle_type) ||
        add_type(module, &stpy_slice_spec, &state->slice_type) ||
        add_type(module, &stpy_meta_spec, &state->meta_type) ||
        add_type(module, &stpy_tensor_spec_spec, &state->spec_type) ||
        add_type(module, &stpy_memory_spec, &state->memory_type) ||
        add_type(module, &stpy_writer_spec, &state->writer_type))
        return -1;
    PyTypeObject *const shown[] = {state->safe_open_type, state->handle_type, state->slice_type,
                                   state->meta_type,      state->spec_type,   state->writer_type};
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
        if (PyModule_AddType(module, shown[i]))
            return -1;
    return 0;
}

static int add_error(PyObject *module, stpy_state *state)
{
    state->error = PyErr_NewExceptionWithDoc(
        "safetensors._safetensors_rust.SafetensorError",
        "What safetensors itself finds wrong: with a file, a tensor or an argument.", NULL, NULL);
    if (!state->error)
        return -1;
    return PyModule_AddObjectRef(module, "SafetensorError", state->error);
}

static int add_all(PyObject *module)
{
    PyObject *all =
        Py_BuildValue("[ssssssssssss]", "serialize", "serialize_file", "deserialize", "TensorSpec",
                      "safe_open", "_safe_open_handle", "SafetensorError", "PySafeSlice",
                      "TensorMeta", "PrefetchLoader", "TensorStream", "__version__");
    if (!all)
        return -1;
    int failed = PyModule_AddObjectRef(module, "__all__", all);
    Py_DECREF(all);
    return failed;
}

static int module_exec(PyObject *module)
{
    stpy_state *state = stpy_state_of_module(module);
    st_error error;
    if (st_context_new(NULL, &state->context, &error)) {
        PyErr_NoMemory();
        return -1;
    }
    if (stpy_fork_join(state))
        return -1;
    char version[32];
    PyOS_snprintf(version, sizeof version, "%d.%d.%d", ST_VERSION_MAJOR, ST_VERSION_MINOR,
                  ST_VERSION_PATCH);
    if (add_names(state) || add_error(module, state) || add_types(module, state) ||
        PyModule_AddStringConstant(module, "__version__", version) || add_all(module))
        return -1;
    return 0;
}

/* Python.h of 3.11 has no names for these; each is fatal to the interpreters before it. */
#define SLOT_MULTIPLE_INTERPRETERS \
 3                 /* from 3.12 on; its value 2: one GIL per interpreter will do */
#define SLOT_GIL 4 /* from 3.13 on; its value 1: no GIL is needed */

PyMODINIT_FUNC PyInit__safetensors_rust(void);

PyMODINIT_FUNC PyInit__safetensors_rust(void)
{
    static PyModuleDef_Slot slots[] = {
        {Py_mod_exec, (void *)module_exec}, {0, NULL}, {0, NULL}, {0, NULL}};
    static PyModuleDef definition = {
        .m_base = PyModuleDef_HEAD_INIT,
        .m_name = "safetensors._safetensors_rust",
        .m_doc = "The safetensors format over the C library; the package's modules are the way in.",
        .m_size = sizeof(stpy_state),
        .m_methods = module_methods,
        .m_slots = slots,
        .m_traverse = module_traverse,
        .m_clear = module_clear,
        .m_free = module_free,
    };
    if (Py_Version >= 0x030C0000)
        slots[1] = (PyModuleDef_Slot){SLOT_MULTIPLE_INTERPRETERS, (void *)(uintptr_t)2};
    if (Py_Version >= 0x030D0000)
        slots[2] = (PyModuleDef_Slot){SLOT_GIL, (void *)(uintptr_t)1};
    return PyModuleDef_Init(&definition);
}
