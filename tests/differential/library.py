# SPDX-License-Identifier: Apache-2.0
"""The shared library through ctypes: as much of it as the differential tests need."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass, field

UPSTREAM = 1
UNKNOWN_DTYPES = 2


class Error(ctypes.Structure):
    _fields_ = [
        ("status", c_int32),
        ("sys_errno", c_int32),
        ("offset", c_uint64),
        ("message", ctypes.c_char * 496),
    ]


class OpenOptions(ctypes.Structure):
    _fields_ = [
        ("flags", c_uint32),
        ("io", c_uint32),
        ("max_header_size", c_uint64),
        ("context", c_void_p),
        ("name", c_char_p),
        ("reserved", c_uint64 * 8),
    ]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("name", c_void_p),
        ("name_len", c_uint32),
        ("reserved", c_uint32),
        ("shape", POINTER(c_uint64)),
        ("ndim", c_uint32),
        ("dtype", c_int32),
        ("begin", c_uint64),
        ("end", c_uint64),
    ]


class Metadata(ctypes.Structure):
    _fields_ = [
        ("key", c_void_p),
        ("key_len", c_uint32),
        ("value_len", c_uint32),
        ("value", c_void_p),
    ]


@dataclass
class Result:
    status: str = "ST_OK"
    offset: int = -1
    message: str = ""
    tensors: list = field(default_factory=list)  # (name, dtype, shape, begin, end) in data order
    metadata: dict | None = None

    @property
    def accepted(self):
        return self.status == "ST_OK"


class Library:
    def __init__(self, path=None):
        lib = ctypes.CDLL(path or os.environ["ST_LIBRARY"])
        self.lib = lib
        lib.st_status_name.restype = c_char_p
        lib.st_header_parse.argtypes = [
            c_void_p,
            c_size_t,
            c_uint64,
            POINTER(OpenOptions),
            POINTER(c_void_p),
            POINTER(Error),
        ]
        lib.st_header_release.argtypes = [c_void_p]
        lib.st_header_count.argtypes = [c_void_p]
        lib.st_header_count.restype = c_size_t
        lib.st_header_at.argtypes = [c_void_p, c_size_t]
        lib.st_header_at.restype = POINTER(Tensor)
        lib.st_header_has_metadata.argtypes = [c_void_p]
        lib.st_header_has_metadata.restype = ctypes.c_bool
        lib.st_header_metadata_count.argtypes = [c_void_p]
        lib.st_header_metadata_count.restype = c_size_t
        lib.st_header_metadata_at.argtypes = [c_void_p, c_size_t]
        lib.st_header_metadata_at.restype = POINTER(Metadata)
        lib.st_header_dtype_code.argtypes = [c_void_p, c_int32, POINTER(c_size_t)]
        lib.st_header_dtype_code.restype = c_void_p

    def parse(self, content, flags=0):
        options = OpenOptions(flags=flags)
        header, error = c_void_p(), Error()
        status = self.lib.st_header_parse(
            content, len(content), len(content), byref(options), byref(header), byref(error)
        )
        if status:
            name = self.lib.st_status_name(status).decode()
            return Result(name, error.offset, error.message.decode())
        result, code_len = Result(), c_size_t()
        for i in range(self.lib.st_header_count(header)):
            t = self.lib.st_header_at(header, i).contents
            code = self.lib.st_header_dtype_code(header, t.dtype, byref(code_len))
            code = ctypes.string_at(code, code_len.value).decode()
            result.tensors.append(
                (
                    ctypes.string_at(t.name, t.name_len).decode(),
                    code,
                    t.shape[: t.ndim],
                    t.begin,
                    t.end,
                )
            )
        if self.lib.st_header_has_metadata(header):
            result.metadata = {}
            for i in range(self.lib.st_header_metadata_count(header)):
                m = self.lib.st_header_metadata_at(header, i).contents
                key = ctypes.string_at(m.key, m.key_len).decode()
                result.metadata[key] = ctypes.string_at(m.value, m.value_len).decode()
        self.lib.st_header_release(header)
        return result
