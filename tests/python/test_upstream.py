# SPDX-License-Identifier: Apache-2.0
"""The package against the published ones, each in a process of its own (upstream_peer.py) that is asked the same."""

import importlib.util
import itertools
import json
import os
import pickle
import random
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from safetensors import SafetensorError

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
VERSIONS = ("0.8.0", "0.9.0rc1")
BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8}
BITS |= {"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32}
BITS |= {"F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}
# What upstream cannot give (torch's F4 with one back end only), and what besides it cannot when it loads from bytes.
NARROW = {code for code, bits in BITS.items() if bits < 8}
REFUSED = {"np": NARROW | {code for code in BITS if code.startswith("F8")}, "pt": NARROW}
REFUSED_BYTES = {"np": REFUSED["np"] | {"BF16"}, "pt": NARROW | {"F8_E8M0"}}


class Peer:
    """A process with one of the packages: `peer.surface()` is what surface() of upstream_peer.py gives there."""

    def __init__(self, version, python, environment, folder):
        folder.mkdir()
        self.version = version
        self.folder, self.said = folder, folder / "said.txt"
        command = [python, "-W", "ignore", HERE / "upstream_peer.py", folder]
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=environment
            )

    def __getattr__(self, function):
        def call(*arguments):
            try:
                pickle.dump((function, arguments), self.process.stdin)
                self.process.stdin.flush()
                done, answer = pickle.load(self.process.stdout)
            except (EOFError, OSError):
                self.process.wait()
                pytest.fail(f"{function}: the peer ended, {self.process.returncode}: {self.said.read_text()[-2000:]}")
            assert done, f"{function}: {answer}"
            return answer

        return call

    def end(self):
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    missing = [name for name in ("torch", "jax", "ml_dtypes") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}")
    peer = Peer("ours", sys.executable, dict(os.environ), tmp_path_factory.mktemp("ours") / "work")
    yield peer
    peer.end()


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """By version, as many as are there; they start while ours does."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LD_PRELOAD")}
    found = {}
    for version in VERSIONS:
        python = ROOT / "build" / f"oracle-{version}" / "bin" / "python"
        if python.exists():
            found[version] = Peer(version, python, environment, tmp_path_factory.mktemp("upstream") / "work")
    yield found
    for peer in found.values():
        peer.end()


@pytest.fixture(params=VERSIONS)
def upstream(peers, request, ours):
    if request.param not in peers:
        pytest.skip(f"no build/oracle-{request.param}: run scripts/setup test")
    return peers[request.param]


def failed(said):
    return isinstance(said, dict) and "error" in said


def caught_alike(ours, theirs):
    """A program that catches what upstream raises catches ours."""
    return failed(ours) and theirs["error"][0] in ours["error"]


# ------------------------------------------------------------------------------------------------- making files

LETTERS = [*'abz019._-/ "\\\b\n\x01\x7fé日😀', "\u2028", "layers."]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def name(self):
        return "".join(self.random.choices(LETTERS, k=self.random.randrange(10)))

    def shape(self, code):
        """Few dimensions, some of them 0; bits that fill bytes, in the last dimension already (torch packs it)."""
        shape = [self.random.choice((0, 1, 2, 3, 4, 5)) for _ in range(self.random.choice((0, 1, 1, 2, 2, 3, 4)))]
        if BITS[code] < 8:
            shape = [*shape[:-1], self.random.choice((0, 4, 8))]
        return shape

    def data(self, code, shape):
        count = int(np.prod(shape, dtype=object)) * BITS[code] // 8
        return bytes(self.random.randrange(2) for _ in range(count)) if code == "BOOL" else self.random.randbytes(count)

    def metadata(self, most=3):
        return self.random.choice((None, {self.name(): self.name() for _ in range(self.random.randint(0, most))}))

    def file(self, codes, count=None):
        """A file's bytes, and what it holds: {name: (code, shape, bytes)}. Order and padding are free."""
        tensors = {}
        for _ in range(self.random.randrange(9) if count is None else count):
            code = self.random.choice(codes)
            shape = self.shape(code)
            tensors[self.name()] = code, shape, self.data(code, shape)
        names = list(tensors)
        self.random.shuffle(names)
        header, data = {}, b""
        for name in names:
            code, shape, content = tensors[name]
            header[name] = {"dtype": code, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
            data += content
        members = list(header.items())
        self.random.shuffle(members)
        metadata = self.metadata()
        if metadata is not None or self.random.random() < 0.3:
            members.insert(self.random.randint(0, len(members)), ("__metadata__", metadata))
        text = json.dumps(dict(members), ensure_ascii=self.random.random() < 0.5).encode()
        text += b" " * self.random.choice((-len(text) % 8, -len(text) % 8, 0, 3))
        return struct.pack("<Q", len(text)) + text + data, tensors


# ----------------------------------------------------------------------------------------------------- reading


def in_order(items):
    """Of names in data order, those whose place is no matter of chance; tensors without bytes share theirs."""
    return [name for name, value in items if value["bytes"]]


def same_file(framework, tensors, ours, theirs):
    """One file as ours and theirs tell it."""
    codes = {code for code, _, _ in tensors.values()}
    for key in ("keys", "metadata"):
        assert ours[key] == theirs[key]
    filled = [[name for name in said["offset_keys"] if tensors[name][2]] for said in (ours, theirs)]
    assert filled[0] == filled[1] and sorted(ours["offset_keys"]) == sorted(theirs["offset_keys"])
    for name, (code, shape, data) in tensors.items():
        one, other = ours[name], theirs[name]
        for key in ("shape", "dtype", "meta"):
            assert key not in other or one[key] == other[key], name
        for key in ("get_tensor", "slice"):
            if failed(other[key]):
                assert code in REFUSED[framework] or key == "slice" and (0 in shape or not shape), code
                assert failed(one[key]) == (key == "slice" and not shape), (code, shape, one[key])
                assert shape == [] or code in NARROW or one[key]["bytes"] == data
            elif key == "slice" and code == "F4":
                assert 0 in shape and one[key] == one["get_tensor"]  # upstream's is not packed
            else:
                assert one[key] == other[key], (name, code, shape, key)
    for key in ("get_tensors", "load_file", "load"):
        if failed(theirs[key]):
            assert codes & (REFUSED_BYTES if key == "load" else REFUSED)[framework]
            assert not failed(ours[key])
        elif key == "load":
            assert ours[key] == theirs[key]
        else:
            assert dict(ours[key]) == dict(theirs[key])
            assert in_order(ours[key]) == in_order(theirs[key])


@pytest.mark.parametrize("backend", ["mmap", "pread"])
@pytest.mark.parametrize("framework", ["np", "pt"])
def test_reading(framework, backend, ours, upstream, tmp_path):
    maker = Maker(f"{framework} {backend}")
    usual = [code for code in BITS if code not in REFUSED_BYTES[framework]]
    reached = set()
    for turn in range(60):
        content, tensors = maker.file(usual) if turn % 3 else maker.file(list(BITS), count=12)
        path = tmp_path / f"{turn}.safetensors"
        path.write_bytes(content)
        arguments = str(path), framework, backend
        same_file(framework, tensors, ours.everything(*arguments), upstream.everything(*arguments))
        reached.update(code for code, _, _ in tensors.values())
    assert reached == set(BITS)


def test_reading_with_jax(ours, upstream, tmp_path):
    maker = Maker("jax")
    for turn in range(10):
        content, tensors = maker.file(["BOOL", "U8", "I32", "F16", "BF16", "F32", "C64", "I64"])
        path = tmp_path / f"{turn}.safetensors"
        path.write_bytes(content)
        mine, theirs = (peer.everything(str(path), "jax", "mmap") for peer in (ours, upstream))
        for key in ("load_file", "get_tensors"):
            assert dict(mine[key]) == dict(theirs[key])
        assert [mine[name]["get_tensor"] for name in tensors] == [theirs[name]["get_tensor"] for name in tensors]
        assert failed(theirs["load"]) or mine["load"] == theirs["load"]


# ------------------------------------------------------------------------------------------------------ slices


def index_of(maker, shape):
    """A basic index, mostly a good one."""
    chance = maker.random.random

    def item(size):
        around = [*range(-size - 2, size + 3)]
        if chance() < 0.3:
            return maker.random.choice(around if chance() < 0.3 else [*range(-size, size)] or [0])
        start, stop = (
            maker.random.choice([None, None, *(around if chance() < 0.4 else range(size + 1))]) for _ in "ab"
        )
        return slice(start, stop, maker.random.choice((None,) * 8 + (1, 1, 2, 3, -1, 7)))

    items = [item(size) for size in shape[: maker.random.randint(0, len(shape))]]
    if chance() < 0.05:
        items.append(item(3))
    if chance() < 0.15:
        items.insert(maker.random.randint(0, len(items)), Ellipsis)
    if chance() < 0.05:
        items.insert(maker.random.randint(0, len(items)), None)
    return items[0] if len(items) == 1 and chance() < 0.7 else tuple(items)


def stepped(index):
    items = index if isinstance(index, tuple) else (index,)
    return any(isinstance(item, slice) and item.step not in (None, 1) for item in items)


def expected(value, index):
    """NumPy's word on an index: shape and bytes, or None."""
    code, shape, data = value
    array = np.frombuffer(data, f"V{BITS[code] // 8}").reshape(shape)
    try:
        part = array[index]
    except IndexError:
        return None
    return part.shape, part.tobytes()


def beyond(index, shape):
    """Whether a slice of it is `[:n]` with n beyond the dimension: upstream's tests want it refused with NumPy."""
    items = [item for item in (index if isinstance(index, tuple) else (index,)) if item is not None]
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (len(shape) - len(items) + 1)
    plain = [isinstance(item, slice) and item.start is None and item.step is None for item in items]
    return any(is_plain and (item.stop or 0) > size for is_plain, item, size in zip(plain, items, shape))


@pytest.mark.parametrize(("framework", "backend"), [("np", "mmap"), ("np", "pread"), ("pt", "mmap"), ("pt", "pread")])
def test_slices(framework, backend, ours, upstream, tmp_path):
    maker = Maker(f"slices {framework} {backend}")
    codes = [code for code in BITS if code not in REFUSED[framework]]
    content, tensors = maker.file(codes, count=30)
    path = tmp_path / "d.safetensors"
    path.write_bytes(content)
    indices = [(name, index_of(maker, tensors[name][1])) for name in maker.random.choices(list(tensors), k=1500)]
    answers = (peer.sliced(str(path), framework, backend, indices) for peer in (ours, upstream))
    counts = dict.fromkeys(("both", "ours", "none"), 0)
    for (name, index), mine, theirs in zip(indices, *answers):
        at = (tensors[name][:2], index, mine, theirs)
        result = expected(tensors[name], index)
        if not failed(theirs):
            # Backwards with a step, upstream's shapes are out of this world.
            assert mine == theirs or stepped(index) and result != (theirs["shape"], theirs["bytes"]), at
        elif failed(mine):
            assert caught_alike(mine, theirs) or "builtins.IndexError" in mine["error"], at
            assert result is None or framework == "np" and beyond(index, tensors[name][1]), at
            if isinstance(index, slice) and "Error during slicing" in theirs["text"] and result is not None:
                assert not tensors[name][2] or framework == "pt" or mine["text"] == theirs["text"], at
        if not failed(mine):
            assert result == (mine["shape"], mine["bytes"]), at
        counts["none" if failed(mine) else "ours" if failed(theirs) else "both"] += 1
    assert min(counts.values()) > 20, counts


# ----------------------------------------------------------------------------------------------------- writing

NAMES = {"BOOL": "bool", "BF16": "bfloat16", "C64": "complex64", "F4": "float4_e2m1fn_x2", "F8_E5M2": "float8_e5m2"}
NAMES |= {"F8_E4M3": "float8_e4m3fn", "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz"}
NAMES |= {"F8_E5M2FNUZ": "float8_e5m2fnuz", **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)}}
NAMES |= {f"{sign[0].upper()}{bits}": f"{sign}{bits}" for sign in ("int", "uint") for bits in (8, 16, 32, 64)}


def model_of(maker, kind):
    """{name: (dtype, shape, bytes)} for a way to save, and metadata of at most one key: upstream's order is chance."""
    codes = [code for code in NAMES if kind != "numpy" or code != "F4"]
    tensors = {}
    for _ in range(maker.random.randrange(12)):
        code = maker.random.choice(codes)
        shape = maker.shape(code)
        data = maker.data(code, shape)
        if code == "F4":
            shape[-1] //= 2
        tensors[maker.name()] = NAMES[code], shape, data
    return kind, tensors, maker.metadata(1) if tensors else None


@pytest.mark.parametrize("kind", ["numpy", "torch", "specs"])
def test_written_bytes(kind, ours, upstream):
    maker = Maker(f"written {kind}")
    models = [model_of(maker, kind) for _ in range(250)]
    for model, mine, theirs in zip(models, ours.written(models), upstream.written(models)):
        assert not failed(theirs[0]) and theirs[0] == theirs[1]
        assert mine == theirs, model


# ----------------------------------------------------------------------------------------------------- headers


def read_alike(verdict, takes, mine, theirs):
    """A file is read the same by both, or it is one that only upstream takes."""
    for one, other in zip(mine, theirs):
        if failed(other):
            assert caught_alike(one, other)
            reason = other["text"].split(": ", 2)
            assert one["text"].startswith(reason[0])
        elif failed(one):
            assert verdict.rule in takes, (verdict, one)
            assert "safetensors._safetensors_rust.SafetensorError" in one["error"]
        else:
            assert one == other
    assert failed(mine[0]) == failed(mine[1])


def test_mutated_headers(ours, upstream):
    sys.path.append(str(HERE.parent / "differential"))
    import mutate
    import reference

    maker = mutate.Maker(5)
    contents = [maker.file() for _ in range(2500)]
    counts = dict.fromkeys(("both", "upstream", "none"), 0)
    for content, mine, theirs in zip(contents, ours.read_headers(contents), upstream.read_headers(contents)):
        verdict = reference.judge(content)
        read_alike(verdict, reference.UPSTREAM_TAKES, mine, theirs)
        assert verdict.accepted == (not failed(mine[0])), verdict
        counts["none" if failed(theirs[0]) else "upstream" if failed(mine[0]) else "both"] += 1
    assert min(counts.values()) > 20, counts


# ------------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("backend", ["mmap", "pread"])
@pytest.mark.parametrize("framework", ["np", "pt"])
def test_aliasing(framework, backend, ours, upstream, model):
    path = model({"a": np.arange(12, dtype="f4").reshape(4, 3), "b": np.arange(6, dtype="i2").reshape(2, 3)})
    mine, theirs = (peer.aliasing(str(path), framework, backend) for peer in (ours, upstream))
    assert mine == theirs


# ----------------------------------------------------------------------------------------------------- surface


def test_names(ours, upstream):
    mine, theirs = ours.surface(), upstream.surface()
    for module, names in theirs["names"].items():
        assert set(names) <= set(mine["names"][module]), module
    for name, attributes in theirs["attributes"].items():
        assert set(attributes) <= set(mine["attributes"][name]), name
    assert len(theirs["attributes"]) >= 3


def test_signatures(ours, upstream):
    """Upstream's parameters are ours, in their order; what ours has besides comes later, and can be left out."""
    mine, theirs = ours.surface()["signatures"], upstream.surface()["signatures"]
    assert len(theirs) > 50
    for name, parameters in theirs.items():
        if parameters is None:
            continue
        found = [p for p in mine[name] if p[0] != "self"]
        wanted = [p for p in parameters if p[0] != "self"]
        assert [p for p in found if p in wanted] == wanted, name
        added = [p for p in found if p not in wanted]
        assert all(default or kind.startswith("VAR") for _, kind, default in added), name
        before = list(itertools.takewhile(lambda p: p in wanted or p[1] == "KEYWORD_ONLY", found))
        assert [p for p in before if p in wanted] == wanted, name


# ------------------------------------------------------------------------------------------------------ errors

# Evaluated in the order of this page, in a folder with these files; names are those of upstream_peer.py.
FILES = {
    "empty": b"",
    "huge": b"\xff" * 16,
    "json": b'\x07\0\0\0\0\0\0\0{"a":1}',
    "utf8": b'\x03\0\0\0\0\0\0\0"\xff"',
    "hole": b'8\0\0\0\0\0\0\0{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}  xx',
}
# The same result, or the same class and text.
SAME = r"""
safe_open('d.safetensors', 'zzz')
safe_open('d.safetensors', 'NP')
safe_open('d.safetensors', 'np', device=None).keys()
safe_open('d.safetensors', 'np', device='cpu').keys()
safe_open('d.safetensors', 'np', device='cuda')
safe_open('d.safetensors', 'np', device='cuda:1')
safe_open('d.safetensors', 'np', device=1)
safe_open('d.safetensors', 'jax', device='cuda:1')
safe_open('d.safetensors', 'tf', device='cuda:1')
safe_open('d.safetensors', 'mlx', device='mps')
safe_open('d.safetensors', 'np', device=-1)
safe_open('d.safetensors', 'pt', device='zzz')
safe_open('d.safetensors', 'pt', device='CPU')
safe_open('d.safetensors', 'pt', device='gpu')
safe_open('d.safetensors', 'pt', device='')
safe_open('d.safetensors', 'pt', device='cuda:0:1')
safe_open('d.safetensors', 'pt', device='mps:1')
safe_open('d.safetensors', 'pt', device=[1])
safe_open('d.safetensors', 'pt', device=1.5)
safe_open('nope', 'np')
safe_open('nope', 'zzz')
safe_open('nope/nope', 'pt')
safe_open(Path('nope'), 'np')
safe_open('', 'np')
closed().keys()
closed().offset_keys()
closed().metadata()
closed().get_tensor('a')
closed().get_tensors()
closed().get_slice('a')
closed().get_tensor_meta('a')
closed().prefetch()
closed().__exit__(None, None, None)
type(closed().__enter__()).__name__
safe_open('d.safetensors', 'np').get_tensor('q')
safe_open('d.safetensors', 'pt').get_tensor('q')
safe_open('d.safetensors', 'np').get_slice('q')
safe_open('d.safetensors', 'np').get_tensor_meta('q')
safe_open('d.safetensors', 'np').keys(1)
safe_open('d.safetensors', 'pt').get_tensor('four')
safe_open('d.safetensors', 'np').get_slice('wide').get_shape()
safe_open('d.safetensors', 'np').get_slice('a')[2:, 20]
safe_open('d.safetensors', 'np').get_slice('a')[:20]
safe_open('d.safetensors', 'np').get_slice('a')[:, :20]
safe_open('d.safetensors', 'np').get_slice('a')[:, -6]
safe_open('d.safetensors', 'np').get_slice('a')[[1, 2]]
safe_open('d.safetensors', 'np').get_slice('a')[[]]
safe_open('d.safetensors', 'np').get_slice('a')[()]
safe_open('d.safetensors', 'pt').get_slice('a')[[]]
safe_open('d.safetensors', 'pt').get_slice('a')[[1, 2]]
safe_open('d.safetensors', 'pt').get_slice('a')[:20]
safe_open('d.safetensors', 'pt').get_slice('a')[10]
safe_open('d.safetensors', 'pt').get_slice('a')[1, 2, 3]
safe_open('d.safetensors', 'pt').get_slice('a')['a']
safe_open('d.safetensors', 'pt').get_slice('a')[1.5]
safe_open('d.safetensors', 'pt', backend='pread').get_slice('a')[:, 20]
safe_open('d.safetensors', 'pt', backend='pread').get_slice('a')[:, -6]
safe_open('d.safetensors', 'np').get_slice('a')[::2].shape
safe_open('d.safetensors', 'np').get_slice('a')[...].shape
_safe_open_handle(open('d.safetensors'), 'np').keys()
_safe_open_handle(open('d.safetensors', 'rb'), framework='pt').metadata()
spec(shape=b'ab').shape
spec(shape=range(3)).shape
spec(shape=(1, 2)).shape
spec(shape=torch.Size([2, 3])).shape
spec(shape=np.array([2, 3])).shape
spec(shape=[True, np.int64(3)]).shape
spec(shape=[2**64 - 1]).shape
spec(dtype='float4_e2m1fn_x2', shape=[2, 3]).shape
spec(dtype='float4_e2m1fn_x2', shape=[]).shape
repr(spec(dtype='float4_e2m1fn_x2', shape=[2, 3], data_ptr=12, data_len=6))
repr(spec(dtype='bool', shape=[]))
spec() == spec()
spec().dtype
serialize({})
serialize({}, None)
serialize({}, {'a': 'b'})
serialize({'\ud800': spec()})
serialize({'a': spec()}, {'x': '\ud800'})
serialize(tensor_dict={'a': spec()}, metadata={'x': 'y'})
serialize({'a': spec(shape=[0, 2**63, 4])})
deserialize(bytes=serialize({}))
deserialize(serialize({'a': spec()}))
safetensors.numpy.save({'a': np.arange(4, dtype='>i4')})
safetensors.numpy.save({'a': np.ones((2, 2)).view(np.matrix)})
safetensors.numpy.save({'a': np.arange(3, dtype=ml_dtypes.bfloat16)})
safetensors.numpy.save({'a': np.arange(3, dtype=ml_dtypes.float8_e4m3fn)})
safetensors.numpy.load_file('nope')
safetensors.numpy.load_file('d.safetensors', 'pread')
safetensors.numpy._getdtype('F32')
safetensors.numpy._getdtype('nope')
safetensors.torch.save('test')
safetensors.torch.save([1])
safetensors.torch.save(None)
safetensors.torch.save({'test': {'test': 1}})
safetensors.torch.save({'a': np.ones(2)})
safetensors.torch.save({'a': torch.ones(2), 'test': torch.ones(2, 3).to_sparse()})
safetensors.torch.save({'a': torch.eye(2).to_sparse_csr(), 'test': torch.ones(2, 3).to_sparse()})
safetensors.torch.save({'a': torch.ones(2, device='meta')})
safetensors.torch.save({'a': torch.ones(2)}, metadata={'x': 'y'})
safetensors.torch.save({'a': torch.nn.Parameter(torch.ones(2))})
safetensors.torch.save((lambda t: {'a': t[:1], 'b': t[1:]})(torch.ones(2)))
safetensors.torch.save((lambda t: {'a': t, 'b': t})(torch.ones(2, 0)))
safetensors.torch.save_file('test', 'out')
safetensors.torch.save_file({'a': torch.ones(2)})
safetensors.torch.load_file('nope')
safetensors.torch.load_file('nope', device='zzz')
safetensors.torch.load_file('hole', device='zzz')
safetensors.torch.load_file('d.safetensors', device='zzz')
safetensors.torch.load_file('d.safetensors', 'cpu', 'mmap')
safetensors.torch.save_model(Model(), 'm')
sorted(safetensors.torch.load_file('m'))
safe_open('m', 'pt').metadata()
safetensors.torch.save_model(Model(turned=True), 'n')
sorted(safetensors.torch.load_model(Model(), 'm')[0]), list(safetensors.torch.load_model(Model(), 'm')[1])
safetensors.torch.load_model(Model(turned=True), 'm')
safetensors.torch.load_model(Model(), 'n')
sorted(safetensors.torch.load_model(Model(turned=True), 'm', strict=False)[0])
sorted(safetensors.torch.load_model(Model(), 'n', strict=False)[1])
safetensors.torch.load_model(torch.nn.Linear(3, 3), 'm')
safetensors.torch.load_model(Model(), 'nope')
safetensors.torch._getdtype('F32')
safetensors.torch._getdtype('nope')
safetensors.torch._find_shared_tensors({'a': torch.ones(3, device='meta')})
safetensors.torch.storage_ptr(torch.ones(3, device='meta'))
safetensors.torch.storage_size(torch.ones(3)[1:])
safetensors.flax.save({'a': 1})
safetensors.flax.load_file('nope')
safe_open('d.safetensors', 'pt').prefetch({'zz': 3}, device='cuda')
safe_open('d.safetensors', 'pt').prefetch({1: None}, device='cuda')
safe_open('d.safetensors', 'pt').prefetch({'s': slice(0, 4)}, device='cuda')
safe_open('d.safetensors', 'pt').prefetch({}, device='cuda')
safe_open('d.safetensors', 'pt').prefetch(3, device='cuda')
safe_open('d.safetensors', 'pt').prefetch({'a': None}, threads=-1)
safe_open('d.safetensors', 'pt').prefetch({'a': None}, threads='x')
(lambda data: [safetensors.numpy.load(data)['a'].fill(9), safetensors.numpy.load(data), data])(DATA)
(lambda data: [safetensors.torch.load(data)['a'].fill_(9), safetensors.torch.load(data), data])(DATA)
(lambda d: (safetensors.numpy.save(d), described(d)))({'a': np.arange(4, dtype='>i4')})
safetensors.torch._TYPES['F32'], safetensors.torch._SIZE[torch.float32]
sorted(safetensors.numpy._TYPES)
safetensors.numpy._is_little_endian(np.arange(2)), safetensors.numpy._is_little_endian(np.arange(2, dtype='>i4'))
safetensors.torch._view2torch(deserialize(DATA))
safetensors.numpy._view2np(deserialize(DATA))
safetensors.torch._to_ndarray(torch.ones(3))
safetensors.torch._evaluate_tensors_for_save({'a': torch.ones(3)})
safetensors.torch._evaluate_tensors_for_save({'a': 1})
sorted(safetensors.torch._flatten_as_ptr({'a': torch.ones(3)})[0])
sorted(safetensors.numpy._flatten({'a': np.ones(3)})[0])
safetensors.flax._np2jnp({'a': np.ones(3, 'f4')})
safetensors.flax._jnp2np({'a': jax.numpy.ones(3)})
[sorted(x) for x in safetensors.torch._filter_shared_not_shared([{'a', 'b'}], {'a': T, 'b': T})]
dict(safetensors.torch._remove_duplicate_names({'a': T, 'b': T, 'c': T[1:]}))
dict(safetensors.torch._remove_duplicate_names({'a': T, 'b': T, 'c': T}, preferred_names=['c'], discard_names=['a']))
dict(safetensors.torch._remove_duplicate_names({'a': T, 'b': T, 'c': T}, discard_names=['a', 'b']))
[sorted(x) for x in safetensors.torch._find_shared_tensors({'z': T[:2], 'y': T[2:], 'x': T[:1], 'w': T})]
[sorted(x) for x in safetensors.torch._find_shared_tensors({'z': T[:2], 'y': T[2:], 'x': T[:1]})]
safetensors.torch._end_ptr(T) - T.data_ptr(), safetensors.torch._end_ptr(T[1:1])
""".strip().splitlines()
# The same class, and a text that begins with upstream's.
BEGINS = r"""
safe_open('empty', 'np')
safe_open('short', 'np')
safe_open('long', 'np')
safe_open('huge', 'np')
serialize({'a': spec(shape=[1])})
serialize({'a': spec(shape=[0], data_len=1)})
serialize({'a': spec(shape=[2**63, 4])})
serialize_file({'a': spec(shape=[1])}, 'out')
deserialize(b'')
deserialize(b'\xff' * 16)
deserialize(open('short', 'rb').read())
safetensors.numpy.load_file('empty')
safetensors.torch.load_file('empty')
safe_open('d.safetensors', 'np', backend='x')
safe_open('d.safetensors', 'np', backend='MMAP')
safetensors.numpy.load_file('d.safetensors', backend='x')
safetensors.torch.load_file('d.safetensors', backend='x')
safetensors.torch.load_model(Model(), 'm', backend='x')
""".strip().splitlines()
# A class that upstream's is a base of, or the same.
CLASS = r"""
safe_open()
safe_open('d.safetensors')
safe_open('d.safetensors', 1)
safe_open('d.safetensors', None)
safe_open(b'd.safetensors', 'np')
safe_open(None, 'np')
safe_open('d.safetensors', 'np', 'cpu', 'mmap')
safe_open('d.safetensors', 'np', foo=1)
safe_open('folder', 'np')
safe_open('json', 'np')
safe_open('utf8', 'np')
safe_open('hole', 'np')
safe_open('d.safetensors', 'np').get_tensor(1)
safe_open('d.safetensors', 'np').get_tensor(b'a')
safe_open('d.safetensors', 'np').get_tensor()
safe_open('d.safetensors', 'np').get_tensor('a', 'b')
safe_open('d.safetensors', 'np').get_tensor(nam='a')
safe_open('d.safetensors', 'np').get_slice(1)
safe_open('d.safetensors', 'pt').get_tensor('odd')
safe_open('d.safetensors', 'np').get_slice('a')['a']
safe_open('d.safetensors', 'np').get_slice('a')[1.5]
safe_open('d.safetensors', 'np').get_slice('a')[{}]
safe_open('d.safetensors', 'np').get_slice('a')[1, 2, 3]
safe_open('d.safetensors', 'np').get_slice('a')[2**40]
safe_open('d.safetensors', 'np').get_slice('s')[0]
copy.copy(safe_open('d.safetensors', 'np'))
pickle.dumps(safe_open('d.safetensors', 'np'))
pickle.dumps(safe_open('d.safetensors', 'np').get_slice('a'))
type('x', (safe_open,), {})
type('x', (TensorSpec,), {})
type(safe_open('d.safetensors', 'np').get_slice('a'))()
setattr(safe_open('d.safetensors', 'np'), 'x', 1)
TensorSpec('float32', [1], 0, 0)
TensorSpec(dtype='float32', shape=[1], data_ptr=0)
spec(foo=1)
spec(dtype='nonsense')
spec(dtype='F32')
spec(dtype='a"b\n')
spec(dtype='')
spec(dtype='float6_e2m3fn')
spec(dtype=1)
spec(dtype=None)
spec(shape='ab')
spec(shape=3)
spec(shape=(i for i in [1]))
spec(shape=[1.5])
spec(shape=['a'])
spec(shape=[-1])
spec(shape=[2**64])
spec(shape=None)
spec(shape={1: 2})
spec(shape=np.zeros((2, 2), int))
spec(data_ptr=-1)
spec(data_ptr=2**64)
spec(data_ptr=1.5)
spec(data_ptr='1')
spec(data_len=-1)
spec(data_len=2**64)
spec(data_len=1.5)
spec(dtype='float4_e2m1fn_x2', shape=[2**63])
setattr(spec(), 'dtype', 'x')
setattr(spec(), 'x', 1)
pickle.dumps(spec())
serialize({'a': {'dtype': 'float32', 'shape': [1], 'data': b'0000'}})
serialize({'a': 1})
serialize({1: spec()})
serialize([('a', spec())])
serialize(None)
serialize(types.MappingProxyType({}))
serialize()
serialize({'a': spec()}, {'x': 1})
serialize({'a': spec()}, {1: 'x'})
serialize({'a': spec()}, {'x': None})
serialize({'a': spec()}, [('x', 'y')])
serialize({'a': spec()}, 'x')
serialize({'a': spec(dtype='float4_e2m1fn_x2', shape=[], data_len=0)})
serialize_file({'a': spec()}, 'nope/x')
serialize_file({'a': spec()}, 'folder')
serialize_file({'a': spec()}, 'd.safetensors/x')
serialize_file({'a': spec()}, '')
serialize_file({'a': spec()}, '.')
serialize_file({'a': spec()}, '/')
serialize_file({'a': spec()}, 'x' * 300)
serialize_file({'a': spec()}, None)
serialize_file({'a': spec()})
deserialize('abc')
deserialize(None)
deserialize(open('json', 'rb').read())
deserialize(open('hole', 'rb').read())
safetensors.numpy.save({'a': np.ones(2, 'complex128')})
safetensors.numpy.save({'a': np.ones(2, 'longdouble')})
safetensors.numpy.save({'a': np.array(['x'])})
safetensors.numpy.save({'a': np.array([object()])})
safetensors.numpy.save({'a': np.array([0], 'M8[s]')})
safetensors.numpy.save({'a': np.zeros(1, 'V4')})
safetensors.numpy.save({1: np.ones(2)})
safetensors.numpy.save({'a': np.ones(2)}, {'x': 1})
safetensors.numpy.save_file({'a': np.ones(2)}, 'nope/x')
safetensors.numpy.load(b'')
safetensors.numpy.load('d.safetensors')
safetensors.torch.save({'key': torch.arange(4.0).reshape(2, 2).t()})
safetensors.torch.save({'key': torch.ones(1, 2, 2, 2).to(memory_format=torch.channels_last)})
safetensors.torch.save({'key': torch.arange(4.0)[::2]})
safetensors.torch.save({'key': torch.ones(1).expand(3)})
safetensors.torch.save({'a': torch.ones(2, dtype=torch.complex128)})
safetensors.torch.save({'a': torch.ones(2, dtype=torch.complex32)})
safetensors.torch.save({'a': torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8)})
safetensors.torch.save({'a': torch.ones(2), 1: torch.ones(1)})
safetensors.torch.save({'a': torch.ones(2)}, {'x': 1})
safetensors.torch.save({'a': torch.ones(2)}, 'x')
safetensors.torch.save((lambda t: {'a': t, 'b': t})(torch.ones(2)))
safetensors.torch.save((lambda t: {'a': t, 'b': t[1:]})(torch.ones(2)))
safetensors.torch.save((lambda t: {'a': t[:2], 'b': t[1:]})(torch.ones(3)))
safetensors.torch.save((lambda t: {'a': t, 'b': t.view(torch.int32)})(torch.ones(2)))
safetensors.torch.save((lambda t: {'a': t, 'b': t.t()})(torch.ones(2, 3)))
safetensors.torch.save_file({'a': torch.ones(2)}, 'nope/x')
safetensors.torch.save_file({'a': torch.ones(2)}, 'folder')
safetensors.torch.save_file({'a': torch.ones(2)}, None)
safetensors.torch.load(b'')
safetensors.torch.load('x')
safetensors.torch.load(b'\xff' * 16)
safetensors.torch.save_model(Model(turned=True), 'o', force_contiguous=False)
safetensors.torch._remove_duplicate_names({'a': torch.ones(3)[1:]})
safetensors.flax.load(b'')
safe_open('d.safetensors', 'pt').prefetch({'a': 1.5}, device='cuda')
safe_open('d.safetensors', 'pt').prefetch({'a': None}, device='zzz')
safe_open('d.safetensors', 'pt').prefetch({'a': None}, device=1.5)
safe_open('d.safetensors', 'pt').prefetch({'a': None}, 'cuda')
safetensors._safetensors_rust.PrefetchLoader()
safetensors._safetensors_rust.TensorStream()
safetensors._safetensors_rust.TensorMeta()
""".strip().splitlines()
# What is different, and why.
DIFFERENT = {
    "safe_open('d.safetensors', 'np', backend=None)": "None stands for what is left out, as with device",
    "safe_open('d.safetensors', 'pt', device='cuda:x')": "as every other device that is none",
    "safe_open('d.safetensors', 'pt', device='cuda:')": "as every other device that is none",
    "safe_open('d.safetensors', 'pt', device='cuda:-1')": "as every other device that is none",
    "safe_open('d.safetensors', 'pt', device='cpu:0').keys()": "a device that torch has",
    "safe_open('d.safetensors', 'pt', device=torch.device('cpu')).keys()": "a device that torch has",
    "safe_open('d.safetensors', 'pt', device='meta').keys()": "a device that torch has",
    "safe_open('a\\0b', 'np')": "ValueError, as open() has it",
    "safe_open('d.safetensors', 'np').get_tensor('six')": "a dtype of ml_dtypes",
    "safe_open('d.safetensors', 'pt').get_tensor('six')": "packed bytes, for want of a dtype",
    "safe_open('d.safetensors', 'np').get_tensor('four')": "a dtype of ml_dtypes",
    "safe_open('d.safetensors', 'np').get_tensor('wide')": "refused before a framework sees such a shape",
    "safe_open('d.safetensors', 'pt').get_tensor('wide')": "refused before a framework sees such a shape",
    "safe_open('d.safetensors', 'pt').get_slice('a')[::-1]": "NumPy's rules, which torch has not",
    "safe_open('d.safetensors', 'pt', backend='pread').get_slice('a')[[1]]": "the same as with mmap",
    "safe_open('d.safetensors', 'np').get_slice('a')[-3:].shape": "NumPy's rules",
    "safe_open('d.safetensors', 'np').get_slice('a')[3:1].shape": "NumPy's rules",
    "safe_open('d.safetensors', 'np').get_slice('a')[10:].shape": "NumPy's rules",
    "safe_open('d.safetensors', 'np').get_slice('z')[:].shape": "NumPy's rules",
    "safe_open('d.safetensors', 'np').get_slice('a')[True].shape": "NumPy's rules: a mask, and not the row 1",
    "_safe_open_handle(object(), 'np')": "TypeError for what is neither a path nor a file",
    "_safe_open_handle('d.safetensors', 'np')": "whatever safe_open opens",
    "_safe_open_handle(io.BytesIO(b''), 'np')": "files without a name can be read",
    "serialize({}, {})": "upstream's file cannot be read",
    "serialize({'__metadata__': spec()})": "upstream's file cannot be read",
    "serialize_file({'a': spec()}, 'a\\0b')": "ValueError, as open() has it",
    "deserialize(bytearray(serialize({})))": "any buffer",
    "safetensors.numpy.save({'a': [1]})": "TypeError for a value of a wrong type",
    "safetensors.numpy.save({'a': 1})": "TypeError for a value of a wrong type",
    "safetensors.numpy.save({'a': torch.ones(2)})": "whatever has __dlpack__ or __array__",
    "safetensors.numpy.save([1])": "TypeError for a value of a wrong type",
    "safetensors.numpy.save(None)": "TypeError for a value of a wrong type",
    "safetensors.numpy.save({'a': np.float32(3)})": "an array without dimensions",
    "safetensors.numpy.save({'a': np.ma.array([1.0, 2.0], mask=[0, 1])})": "a mask would be lost",
    "safe_open('d.safetensors', 'np').prefetch()": "every framework",
    "safe_open('d.safetensors', 'pt').prefetch()": "every device",
    "(lambda d: (safetensors.flax.save(d), described(d)))({'a': jax.numpy.ones(3)})": "the caller's dict is left alone",
    "(lambda m: (safetensors.torch.save_model(Model(), 'm', m), m))({'x': 'y'})": "the caller's dict is left alone",
    "safetensors.numpy.save({'a': np.arange(6.0).reshape(2, 3).T})": "upstream's is garbage",
    "safetensors.torch.save({'a': torch.tensor([1 + 2j]).conj()})": "upstream forgets the bit",
    "safetensors.torch.save({'a': torch._neg_view(T)})": "upstream forgets the bit",
    "sorted(safetensors.torch._TYPES)": "load() takes F4 and F8_E8M0",
    "[*map(sorted, safetensors.torch._find_shared_tensors({'a': T, 'b': T[1:2], 'c': T[2:3]}))]": "c is in a as well",
    "safetensors.torch._end_ptr(torch.ones(2, 3).t()) > 0": "turned tensors have an end",
}


@pytest.fixture
def prepared(ours, upstream, model_bytes):
    """Ours and theirs, each with the files in its folder."""
    tensors = {
        "a": ("F32", [10, 5], struct.pack("<50f", *range(50))),
        "s": ("F32", [], bytes(4)),
        "z": ("F32", [0, 3], b""),
        "six": ("F6_E2M3", [4], bytes(3)),
        "odd": ("F4", [2, 1], bytes(1)),
        "four": ("F4", [2, 2], bytes(2)),
        "wide": ("U8", [0, 2**63], b""),
    }
    content = model_bytes(tensors, {"x": "y"})
    files = {"d.safetensors": content, "short": content[:-1], "long": content + b"x", **FILES}
    for peer in (ours, upstream):
        (peer.folder / "folder").mkdir(exist_ok=True)
        for name, data in files.items():
            (peer.folder / name).unlink(missing_ok=True)
            (peer.folder / name).write_bytes(data)
    return ours, upstream


def asked(peers, expressions):
    """(expression, ours, theirs) for each that this version of upstream has."""
    if peers[1].version == "0.8.0":
        expressions = [e for e in expressions if not re.search("prefetch|tensor_?(meta|stream)", e, re.IGNORECASE)]
    return list(zip(expressions, *(peer.evaluated(expressions) for peer in peers)))


def test_same_outcomes(prepared):
    for expression, mine, theirs in asked(prepared, SAME):
        if failed(theirs):
            assert caught_alike(mine, theirs) and mine["text"] == theirs["text"], (expression, mine, theirs)
        else:
            assert mine == theirs, expression


@pytest.mark.parametrize("table", ["BEGINS", "CLASS"])
def test_same_classes(table, prepared):
    for expression, mine, theirs in asked(prepared, globals()[table]):
        assert failed(theirs) and caught_alike(mine, theirs), (expression, mine, theirs)
        assert table == "CLASS" or mine["text"].startswith(theirs["text"]), (expression, mine, theirs)
        assert mine["text"], expression


def test_differences(prepared):
    """Each is one still. What ours raises is of the package, or one of the two errors that Python has for arguments."""
    for expression, mine, theirs in asked(prepared, DIFFERENT):
        assert mine != theirs and not (failed(theirs) and caught_alike(mine, theirs)), (expression, mine, theirs)
        if failed(mine):
            usual = "builtins.TypeError", "builtins.ValueError", "safetensors._safetensors_rust.SafetensorError"
            assert mine["error"][0] in usual, (expression, mine)


def test_tables():
    """No expression is in two of them."""
    every = [*SAME, *BEGINS, *CLASS, *DIFFERENT]
    assert len(every) == len(set(every)) > 250


def test_errors_travel(ours, upstream):
    """A pickled SafetensorError of one package is one of the other."""
    for argument in ((), ("text",), ("text", 1)):
        for one, other in ((ours, upstream), (upstream, ours)):
            content = one.pickled(argument)
            assert other.unpickled(content) == (True, argument)
            error = pickle.loads(content)
            assert type(error) is SafetensorError and error.args == argument
