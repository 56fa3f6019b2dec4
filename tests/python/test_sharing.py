# SPDX-License-Identifier: Apache-2.0
"""Tensors that share memory, and models that have such."""

import copy

import pytest
from test_torch import expected, same
from written import written

torch = pytest.importorskip("torch")

from safetensors import SafetensorError, safe_open  # noqa: E402
from safetensors.torch import (  # noqa: E402
    _end_ptr,
    _find_shared_tensors,
    _is_complete,
    _remove_duplicate_names,
    load_file,
    load_model,
    save,
    save_file,
    save_model,
    storage_ptr,
    storage_size,
)


def whole(count=60):
    return torch.arange(count, dtype=torch.float32)


# ------------------------------------------------------------------------------------------- what is shared

BASE = whole()
GROUPS = [
    ({"a": BASE}, [{"a"}]),
    ({"a": BASE, "b": BASE}, [{"a", "b"}]),
    ({"a": BASE, "b": BASE[:1]}, [{"a", "b"}]),
    ({"a": BASE[:2], "b": BASE[2:]}, [{"a"}, {"b"}]),
    ({"a": BASE[2:], "b": BASE[:2]}, [{"b"}, {"a"}]),
    ({"a": BASE[:3], "b": BASE[2:]}, [{"a", "b"}]),
    ({"a": BASE[:2], "b": BASE[2:], "c": BASE[:1]}, [{"a", "c"}, {"b"}]),
    # The one in the middle ends before the first one does.
    ({"big": BASE, "b": BASE[1:2], "c": BASE[50:]}, [{"big", "b", "c"}]),
    ({"big": BASE[:50], "b": BASE[1:2], "c": BASE[49:], "d": BASE[55:]}, [{"big", "b", "c", "d"}]),
    ({"big": BASE[:50], "b": BASE[1:2], "c": BASE[50:]}, [{"big", "b"}, {"c"}]),
    # Without elements nothing is shared.
    ({"a": BASE, "b": BASE[5:5]}, [{"a"}, {"b"}]),
    ({"a": BASE, "b": BASE[:0], "c": BASE[60:]}, [{"b"}, {"a"}, {"c"}]),
    # Strides count from the first to the last byte.
    ({"a": BASE.view(6, 10).t(), "b": BASE.view(6, 10)}, [{"a", "b"}]),
    ({"a": BASE.view(6, 10)[:3].t(), "b": BASE.view(6, 10)[3:].t()}, [{"a"}, {"b"}]),
    ({"a": BASE[:10].view(2, 5)[:, :4], "b": BASE[9:]}, [{"a"}, {"b"}]),
    ({"a": BASE[:10].view(2, 5)[:, :4], "b": BASE[8:]}, [{"a", "b"}]),
    ({"a": BASE[:1].expand(3, 4), "b": BASE[1:]}, [{"a"}, {"b"}]),
]


@pytest.mark.parametrize("tensors, groups", GROUPS)
def test_groups(tensors, groups):
    found = _find_shared_tensors(tensors)
    assert sorted(map(sorted, found)) == sorted(map(sorted, groups))
    together = any(len(group) > 1 for group in groups)
    if together:
        with pytest.raises(RuntimeError, match="share memory") as raised:
            save(tensors, contiguous=True)
        assert all(repr(name) in str(raised.value) for name in max(groups, key=len))
    else:
        assert save(tensors, contiguous=True) == expected(tensors)
    assert save(tensors, shared="clone", contiguous=True) == expected(tensors)


def test_order_of_groups():
    x, y = whole(), whole()
    assert _find_shared_tensors({"c": x, "b": y, "a": x, "z": y}) == [{"a", "c"}, {"b", "z"}]
    assert _find_shared_tensors({"b": whole(), "a": whole()}) == [{"b"}, {"a"}]


def test_storages_of_different_size_are_different_ones(tmp_path):
    """The same address, but not the same storage: nothing says that they stand for each other."""
    numpy = pytest.importorskip("numpy")
    memory = numpy.arange(60, dtype="float32")
    tensors = {"a": torch.from_numpy(memory), "b": torch.from_numpy(memory[:30])}
    assert tensors["a"].data_ptr() == tensors["b"].data_ptr()
    assert _find_shared_tensors(tensors) == [{"a"}, {"b"}]
    save_file(tensors, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == save(tensors) == expected(tensors)


def test_what_has_no_memory_shares_none():
    meta = torch.ones(3, device="meta")
    assert _find_shared_tensors({"a": meta, "b": meta}) == []
    empty = torch.ones(0)
    assert save({"a": empty, "b": empty}) == expected({"a": empty, "b": empty})


def test_addresses():
    tensor = whole()
    part = tensor[10:20]
    assert storage_ptr(part) == tensor.data_ptr() == storage_ptr(tensor)
    assert storage_size(part) == 240 and storage_size(tensor[:0]) == 240
    assert _end_ptr(part) == tensor.data_ptr() + 80 and _end_ptr(part[:0]) == part[:0].data_ptr()
    assert _end_ptr(tensor.view(6, 10).t()) == tensor.data_ptr() + 240
    assert _end_ptr(tensor.view(6, 10)[:, ::2]) == tensor.data_ptr() + 236
    assert _is_complete(tensor) and _is_complete(tensor.view(6, 10)) and _is_complete(tensor.view(6, 10).t())
    assert not _is_complete(part) and not _is_complete(tensor[:59]) and not _is_complete(tensor[1:])
    meta = torch.ones(3, device="meta")
    assert storage_ptr(meta) == 0 and storage_size(meta) == 12 and _is_complete(meta) and not _is_complete(meta[:2])
    sparse = torch.ones(3).to_sparse()
    assert storage_ptr(sparse) == 0 and storage_size(sparse) == 12


# --------------------------------------------------------------------------------------- which ones are kept


def test_kept_names():
    x, y = whole(), whole()
    tensors = {"b": x, "a": x.view(6, 10), "part": x[3:], "z": y, "alone": whole()}
    assert _remove_duplicate_names(tensors) == {"a": ["b", "part"]}
    assert _remove_duplicate_names(tensors, preferred_names=["b"]) == {"b": ["a", "part"]}
    assert _remove_duplicate_names(tensors, preferred_names=["part"]) == {"a": ["b", "part"]}
    assert _remove_duplicate_names(tensors, discard_names=["a"]) == {"b": ["a", "part"]}
    assert _remove_duplicate_names(tensors, discard_names=["a", "b"]) == {"a": ["b", "part"]}
    assert _remove_duplicate_names(tensors, preferred_names=["a"], discard_names=["a"]) == {"a": ["b", "part"]}
    assert _remove_duplicate_names(tensors)["nothing"] == []


@pytest.mark.parametrize("tensors", [{"a": BASE[1:], "b": BASE[:50]}, {"a": BASE[:2]}])
def test_no_name_to_keep(tensors):
    with pytest.raises(RuntimeError, match="a"):
        _remove_duplicate_names(tensors)
    with pytest.raises(RuntimeError):
        save(tensors | {"c": tensors["a"]}, shared="alias")


def test_alias(tmp_path):
    x = whole()
    tensors = {"b": x, "a": x, "alone": torch.ones(2)}
    metadata = {"k": "v"}
    whole_file = expected({"a": x, "alone": torch.ones(2)}, {"k": "v", "b": "a"})
    assert save(tensors, metadata, shared="alias") == whole_file
    save_file(tensors, tmp_path / "x", metadata, shared="alias")
    assert (tmp_path / "x").read_bytes() == whole_file
    assert metadata == {"k": "v"} and list(tensors) == ["b", "a", "alone"]
    assert save({"a": x, "b": torch.ones(1)}, shared="alias") == expected({"a": x, "b": torch.ones(1)})
    assert save(tensors, {"b": "a", "k": "v"}, shared="alias") == whole_file


@pytest.mark.parametrize("view", [lambda x: x[3:5], lambda x: x.view(torch.int32), lambda x: x.view(1, *x.shape)])
def test_another_view_is_no_alias(view):
    x = whole()
    with pytest.raises(RuntimeError, match="`z` shares memory with `a`"):
        save({"a": x, "z": view(x)}, shared="alias")


def test_alias_under_a_key_that_is_taken():
    x = whole()
    with pytest.raises(ValueError, match="key `b` already"):
        save({"a": x, "b": x}, {"b": "mine"}, shared="alias")


def test_clone(tmp_path):
    x = whole()
    tensors = {"b": x, "a": x, "part": x[3:5]}
    save_file(tensors, tmp_path / "x", shared="clone")
    loaded = load_file(tmp_path / "x")
    assert all(same(loaded[name], tensors[name]) for name in tensors)
    assert len(_find_shared_tensors(loaded)) == 3


def test_other_ways_are_refused(tmp_path):
    for way in ("none", None, "", True):
        with pytest.raises(ValueError, match="shared"):
            save_file({"a": torch.ones(1)}, tmp_path / "x", shared=way)
    assert not list(tmp_path.iterdir())


def test_sharing_beside_odd_tensors():
    """The exact rule also holds where one of the tensors takes the long way."""
    x, odd = whole(), torch.tensor([1j]).conj()
    with pytest.raises(RuntimeError, match="share memory"):
        save({"a": x, "b": x, "odd": odd})
    assert save({"a": x, "b": x, "odd": odd}, shared="clone") == expected({"a": x, "b": x, "odd": odd})
    assert save({"a": x, "b": x, "odd": odd}, shared="alias") == expected({"a": x, "odd": odd}, {"b": "a"})
    both = torch.tensor([1j])
    with pytest.raises(RuntimeError, match="share memory"):
        save({"a": both, "b": both.conj()})
    with pytest.raises(RuntimeError, match="share memory"):
        save({"a": x, "b": x, "meta": torch.ones(1, device="meta")})


# ------------------------------------------------------------------------------------------------- models


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.b = torch.nn.Linear(4, 4)
        self.a = self.b
        self.c = torch.nn.Linear(4, 2)


class Strided(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4).t())


def test_a_tied_model(tmp_path):
    model, path, metadata = Tied(), tmp_path / "x", {"k": "v"}
    with pytest.raises(RuntimeError):
        save_file(model.state_dict(), path)
    assert not path.exists()
    save_model(model, path, metadata)
    assert metadata == {"k": "v"}
    with safe_open(path, "pt") as f:
        assert f.keys() == ["a.bias", "a.weight", "c.bias", "c.weight"]
        assert f.metadata() == {"k": "v", "b.bias": "a.bias", "b.weight": "a.weight"}
    other = Tied()
    for parameter in other.parameters():
        parameter.data.zero_()
    assert load_model(other, path) == ([], [])
    assert all(same(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert other.a is other.b


def test_a_file_with_the_other_name(tmp_path):
    model = Tied()
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("a")}
    save_file(state, tmp_path / "x")
    assert load_model(Tied(), tmp_path / "x") == ([], [])


def test_a_deep_copy_shares_nothing(tmp_path):
    model = copy.deepcopy(Tied())
    model.b = copy.deepcopy(model.a)
    save_model(model, tmp_path / "x")
    assert sorted(load_file(tmp_path / "x")) == sorted(model.state_dict())


def test_missing_and_unexpected(tmp_path):
    save_file({"c.bias": torch.ones(2), "c.weight": torch.ones(2, 4), "z": torch.ones(1)}, tmp_path / "x")
    missing, unexpected = load_model(Tied(), tmp_path / "x", strict=False)
    assert sorted(missing) == ["a.bias", "a.weight"] and unexpected == ["z"]
    assert isinstance(missing, list) and isinstance(unexpected, list)
    with pytest.raises(RuntimeError) as raised:
        load_model(Tied(), tmp_path / "x")
    assert str(raised.value) == (
        "Error(s) in loading state_dict for Tied:\n"
        '    Missing key(s) in state_dict: "a.bias", "a.weight"\n'
        '    Unexpected key(s) in state_dict: "z"'
    )


def test_sizes_that_differ_are_torchs_affair(tmp_path):
    save_file({"weight": torch.ones(3, 3)}, tmp_path / "x")
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_model(Strided(), tmp_path / "x", strict=False)


@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_a_model_that_is_not_contiguous(backend, tmp_path):
    model, path = Strided(), tmp_path / "x"
    with pytest.raises(ValueError) as raised:
        save_model(model, path, force_contiguous=False)
    text = str(raised.value)
    assert text.startswith("You are trying to save a non contiguous tensor: `weight` ")
    assert text.endswith(" Or use save_model(..., force_contiguous=True), read the docs for potential caveats.")
    assert not path.exists()
    save_model(model, path)
    assert path.read_bytes() == expected({"weight": model.weight})
    other = Strided()
    other.weight.data.zero_()
    load_model(other, path, device="cpu", backend=backend)
    assert torch.equal(other.weight, model.weight)


def test_a_model_whose_tensors_share_a_storage_without_overlap(tmp_path):
    class Halves(torch.nn.Module):
        def __init__(self):
            super().__init__()
            base = whole()
            self.register_buffer("whole", base)
            self.register_buffer("low", base[:30])
            self.register_buffer("view", base.view(6, 10).t())

    save_model(Halves(), tmp_path / "x")
    with safe_open(tmp_path / "x", "pt") as f:
        assert f.keys() == ["view"] and f.metadata() == {"low": "view", "whole": "view"}


class Partial(torch.nn.Module):
    """A part of something that the model does not have."""

    def __init__(self):
        super().__init__()
        self.register_buffer("part", whole()[2:5])
        self.register_buffer("other", whole())


def test_a_part_of_what_has_no_name(tmp_path):
    model = Partial()
    save_model(model, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == expected(dict(model.state_dict()))
    assert save(dict(model.state_dict()), shared="alias") == expected(dict(model.state_dict()))
    model.part.zero_()
    assert load_model(model, tmp_path / "x") == ([], [])
    assert torch.equal(model.part, whole()[2:5])


def test_a_model_without_tensors(tmp_path):
    save_model(torch.nn.ReLU(), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == written({})
    assert load_model(torch.nn.ReLU(), tmp_path / "x") == ([], [])
    with pytest.raises(TypeError):
        save_model(torch.nn.ReLU(), None)
    with pytest.raises(SafetensorError):
        save_model(torch.nn.ReLU(), tmp_path / "none" / "x", durable=True)
