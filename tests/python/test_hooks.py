# SPDX-License-Identifier: Apache-2.0
"""Python code that runs in the middle of a call: hooks of the caller's objects, imports, the collector; and other
interpreters."""

import gc
import weakref

import numpy as np
import pytest
from interpreter import run

import safetensors._frameworks
from safetensors import _safetensors_rust as extension
from safetensors import safe_open

A = np.arange(6, dtype="float32").reshape(2, 3)


class Once:
    """The index 1, which does something else first, once."""

    def __init__(self, hook):
        self.hook = hook

    def __index__(self):
        hook, self.hook = self.hook, lambda: None
        hook()
        return 1


# ------------------------------------------------------------------------------------- the caller's containers


def file_of(path):
    return safe_open(path, "np").get_slice("a")._file


@pytest.mark.parametrize("which", ["names", "indices"])
def test_lists_that_an_index_empties(model, which):
    file = file_of(model({"a": A}))
    lists = {"names": ["a"] * 3, "indices": [None] * 3}
    lists["indices"][0] = Once(lambda: lists[which].clear())
    first, *others = extension._read_many(file, lists["names"], lists["indices"])
    np.testing.assert_array_equal(first, A[1])
    assert [x.tolist() for x in others] == [A.tolist()] * 2
    assert lists[which] == []


def test_lists_of_different_lengths(model):
    with pytest.raises(ValueError, match="^as many indices as names are needed$"):
        extension._read_many(file_of(model({"a": A})), ["a"], [])


# --------------------------------------------------------------------------------------- where to read to


def test_an_array_that_will_not_tell_its_flags(model):
    class Odd(np.ndarray):
        @property
        def flags(self):
            raise ValueError("flags")

    with safe_open(model({"a": A}), "np") as f, pytest.raises(ValueError, match="^flags$"):
        f.get_tensor("a", out=np.zeros_like(A).view(Odd))


def test_a_tensor_whose_device_has_no_name(model):
    torch = pytest.importorskip("torch")

    class Device:
        type = 3

    class Odd(torch.Tensor):
        device = Device()

    out = torch.zeros(2, 3)
    with safe_open(model({"a": A}), "pt") as f:
        f.get_tensor("a", out=out.as_subclass(Odd))
    assert out.tolist() == A.tolist()


# ------------------------------------------------------------------------------------------------- imports


def test_frameworks_that_are_forbidden(model):
    """None in sys.modules is how programs are tested without what they could import."""
    program = """
        import sys
        from safetensors import TensorSpec, _safetensors_rust as extension, safe_open

        sys.modules["torch"] = sys.modules["numpy"] = None
        print(len(extension._save({"a": TensorSpec(dtype="uint8", shape=[0], data_ptr=0, data_len=0)}, None)))
        del sys.modules["numpy"]
        out = bytearray(24)
        with safe_open(sys.argv[1], "np") as f:
            f.get_tensor("a", out=out)
        print(out.hex())
    """
    assert run(program, model({"a": A})) == ["64", A.tobytes().hex()]


def test_a_failed_import_that_another_call_got_ahead_of(model):
    pytest.importorskip("ml_dtypes")
    program = """
        import sys
        from safetensors import safe_open

        f = safe_open(sys.argv[1], "np")

        class Finder:
            def find_spec(self, name, path, target=None):
                if name == "ml_dtypes":
                    sys.meta_path.remove(self)
                    print(f["a"].dtype)
                    raise ImportError("too late")

        sys.meta_path.insert(0, Finder())
        print(f["a"].dtype)
    """
    assert run(program, model({"a": ("BF16", [2], bytes(4))})) == ["bfloat16", "bfloat16"]


def test_a_failed_converter_that_another_call_got_ahead_of(model, monkeypatch):
    file = safe_open(model({"a": A}), "jax")

    def fails(framework):
        monkeypatch.setattr(safetensors._frameworks, "converter", lambda framework: np.copy)
        np.testing.assert_array_equal(file["a"], A)
        raise ValueError("too late")

    monkeypatch.setattr(safetensors._frameworks, "converter", fails)
    with pytest.raises(ValueError, match="^too late$"):
        file["a"]
    np.testing.assert_array_equal(file["a"], A)


# --------------------------------------------------------------------------------------------- the collector


def is_collected(make):
    reference = weakref.ref(make())
    gc.collect()
    return reference() is None


def test_a_file_object_that_keeps_its_writer():
    class File:
        def __init__(self):
            self.writer = extension._Writer(self)
            self.writer.add("a", "uint8", [1])
            self.writer.begin()

        def write(self, data):
            return len(data)

    assert is_collected(File)


def test_a_path_that_keeps_its_file(model):
    class Path(str):
        pass

    def make():
        path = Path(model({"a": A}))
        path.file = safe_open(path, "np")
        return path

    assert is_collected(make)


# -------------------------------------------------------------------------------------------- interpreters


def test_another_interpreter():
    """An export of its memory is given back there, where before Python 3.12 nobody else may wait for the GIL."""
    program = """
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            import _interpreters as interpreters

        inside = interpreters.create()
        interpreters.run_string(inside, '''if True:
            from safetensors import _safetensors_rust as extension
            header = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   '
            data = bytearray(len(header).to_bytes(8, "little") + header + b"ab")
            print(extension.deserialize(data), flush=True)
            print(extension._check(data, False)[0], flush=True)
            data.append(0) # which an export forbids
        ''')
        interpreters.destroy(inside)
    """
    assert run(program) == ["[('a', {'shape': [2], 'dtype': 'U8', 'data': bytearray(b'ab')})]", "[]"]
