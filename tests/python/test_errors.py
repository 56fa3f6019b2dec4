# SPDX-License-Identifier: Apache-2.0
"""What is raised, of which class, and with which text."""

import builtins
import errno
import importlib
import os
import pickle
import struct

import numpy as np
import pytest

import safetensors
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save_file

rust = importlib.import_module("safetensors._safetensors_rust")


def file_of(tmp_path, header, data=b""):
    text = header if isinstance(header, bytes) else header.encode()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


# --------------------------------------------------------------------------------------------- classes


def test_safetensor_error():
    assert SafetensorError.__module__ == "safetensors._safetensors_rust"
    assert SafetensorError.__qualname__ == "SafetensorError"
    assert SafetensorError.__bases__ == (Exception,)
    assert importlib.import_module(SafetensorError.__module__).SafetensorError is SafetensorError
    again = pickle.loads(pickle.dumps(SafetensorError("text", 1)))
    assert type(again) is SafetensorError and again.args == ("text", 1)


def subclasses(class_):
    return {class_}.union(*map(subclasses, class_.__subclasses__()))


def test_variants():
    """One for IndexError, KeyError and ValueError, and one for each of the errors of the system."""
    names = [c.__name__ for c in subclasses(OSError) if getattr(builtins, c.__name__, None) is c]
    assert "PermissionError" in names and len(names) >= 16
    for name in names + ["IndexError", "KeyError", "ValueError"]:
        class_ = getattr(rust, "Safetensor" + name)
        assert issubclass(class_, SafetensorError) and issubclass(class_, getattr(builtins, name))
        assert class_ is getattr(rust, "Safetensor" + name)
        assert class_.__module__ == "safetensors._safetensors_rust" and class_.__name__ == "Safetensor" + name
        assert pickle.loads(pickle.dumps(class_)) is class_
    for name in ("SafetensorTypeError", "Safetensor", "IndexError", "PermissionError", "SafetensorEOFError"):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(rust, name)


def test_variants_travel():
    error = rust.SafetensorPermissionError(errno.EACCES, "the text")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and again.errno == errno.EACCES and str(again) == "the text"
    assert str(rust.SafetensorOSError("alone")) == "alone" and str(rust.SafetensorOSError()) == ""
    assert str(rust.SafetensorIndexError("an index")) == "an index"


# --------------------------------------------------------------------------------------------- opening


def test_a_missing_file(tmp_path):
    for name in (tmp_path / "none", str(tmp_path / "none"), ""):
        with pytest.raises(FileNotFoundError) as caught:
            safe_open(name, "np")
        assert str(caught.value) == f"No such file or directory: {name}"
        assert caught.value.errno == errno.ENOENT
        assert type(caught.value) is FileNotFoundError


def test_the_systems_refusals(tmp_path):
    with pytest.raises(IsADirectoryError) as caught:
        safe_open(tmp_path, "np")
    assert caught.value.errno == errno.EISDIR and caught.value.filename == str(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError) as caught:
        safe_open(tmp_path / "file" / "x", "np")
    assert caught.value.errno == errno.ENOTDIR and caught.value.filename == str(tmp_path / "file" / "x")
    with pytest.raises(OSError) as caught:
        safe_open(tmp_path / ("x" * 300), "np")
    assert caught.value.errno == errno.ENAMETOOLONG
    os.symlink("loop", tmp_path / "loop")
    with pytest.raises(OSError) as caught:
        safe_open(tmp_path / "loop", "np")
    assert caught.value.errno == errno.ELOOP
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="a pipe") as caught:
        safe_open(tmp_path / "fifo", "np")
    assert not isinstance(caught.value, SafetensorError)
    with pytest.raises(ValueError, match="null"):
        safe_open("a\0b", "np")


def test_a_file_without_permission(model):
    path = model({"a": np.zeros(3)})
    path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:  # who may read everything
            os.seteuid(65534)
        with pytest.raises(PermissionError) as caught:
            safe_open(path, "np")
    finally:
        os.seteuid(user)
    assert caught.value.filename == str(path) and caught.value.errno == errno.EACCES


ENTRY = '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'
BAD_HEADERS = [
    ("{", b"", "invalid JSON in header"),
    ("", b"", "invalid JSON in header"),
    ("[]", b"", "invalid JSON in header"),
    (b'{"\xff":1}', b"", "invalid UTF-8 in header"),
    ('{"__metadata__":{"a":1}}', b"", "invalid JSON in header"),
    ('{"a":[]}', b"", "invalid JSON in header"),
    ('{"a":{"dtype":"U8","shape":[2]}}', b"", "invalid JSON in header"),
    ('{"a":{"dtype":"U9","shape":[2],"data_offsets":[0,2]}}', b"12", "invalid JSON in header"),
    ('{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,2]}}', b"12", "invalid JSON in header"),
    ("{" + ENTRY + "," + ENTRY + "}", b"12", "invalid JSON in header"),
    ('{"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}', b"123", "invalid offset for tensor"),
    ('{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,2]}}', b"12", "invalid shape, data type, or offset for tensor"),
    (
        '{"a":{"dtype":"U16","shape":[4611686018427387904],"data_offsets":[0,2]}}',
        b"12",
        "overflow computing buffer size from shape and/or element type",
    ),
    ('{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}', b"1", "the tensor does not end up at a byte boundary"),
    ("{" + ENTRY + "}", b"1", "incomplete metadata, file not fully covered"),
    ("{" + ENTRY + "}", b"123", "incomplete metadata, file not fully covered"),
]


@pytest.mark.parametrize("header, data, phrase", BAD_HEADERS)
def test_bad_headers(tmp_path, header, data, phrase):
    path = file_of(tmp_path, header, data)
    for framework in ("np", "pt"):
        with pytest.raises(SafetensorError) as caught:
            safe_open(path, framework)
        assert type(caught.value) is SafetensorError
        assert str(caught.value).startswith(f"Error while deserializing header: {phrase}: {path}: ")
    with pytest.raises(SafetensorError) as caught:
        deserialize(path.read_bytes())
    assert str(caught.value).startswith(f"Error while deserializing: {phrase}: ")


@pytest.mark.parametrize(
    "content, phrase",
    [
        (b"", "header too small"),
        (b"1234567", "header too small"),
        (struct.pack("<Q", 100_000_001), "header too large"),
        (struct.pack("<Q", 60), "invalid header length"),
    ],
)
def test_bad_lengths(tmp_path, content, phrase):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(SafetensorError, match=f"^Error while deserializing header: {phrase}: "):
        safe_open(path, "np")


# ---------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize(
    "target, class_, number",
    [
        ("missing/x", FileNotFoundError, errno.ENOENT),
        ("", IsADirectoryError, errno.EISDIR),
        ("file/x", NotADirectoryError, errno.ENOTDIR),
        ("x" * 300, OSError, errno.ENAMETOOLONG),
    ],
)
def test_saving(tmp_path, target, class_, number):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SafetensorError, match="^Error while serializing: ") as caught:
        save_file({"a": np.zeros(3)}, tmp_path / target)
    assert isinstance(caught.value, class_) and caught.value.errno == number
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value) and again.errno == number and str(again) == str(caught.value)


def test_a_bad_name_is_no_error_of_the_system():
    with pytest.raises(SafetensorError, match="^Error while serializing: .*__metadata__") as caught:
        safetensors.serialize(
            {"__metadata__": safetensors.TensorSpec(dtype="uint8", shape=[0], data_ptr=0, data_len=0)}
        )
    assert type(caught.value) is SafetensorError
