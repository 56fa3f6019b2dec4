# SPDX-License-Identifier: Apache-2.0
"""What an interrupted edit in place has left, put right. The journals are made here, by docs/journal.md."""

import os
import struct

import pytest

from model_files import floats


def fnv(data):
    total = 0xCBF29CE484222325
    for byte in data:
        total = (total ^ byte) * 0x100000001B3 % 2**64
    return total


def summed(data):
    return data + struct.pack("<Q", fnv(data))


def journal_of(path, new, stretches):
    """`stretches`: (offset, length) of what the file holds now and in which it will hold what `new` does."""
    old = path.read_bytes()
    records = []
    for offset, length in stretches:
        a, b = old[offset : offset + length], new[offset : offset + length]
        records.append((summed(struct.pack("<4Q", offset, length, fnv(a), fnv(b))), a + b))
    body = b"".join(head + data for head, data in records)
    body += bytes(-len(body) % 32)
    size = 64 + len(body) + 32
    info = path.stat()
    head = summed(
        b"\x89STJ\r\n\x1a\n" + struct.pack("<2I5Q", 1, 0, size, len(records), len(old), info.st_dev, info.st_ino)
    )
    chain = fnv(b"".join(head for head, _ in records))
    return head + body + summed(b"STJ-DONE" + struct.pack("<2Q", size, chain))


@pytest.fixture
def model(make):
    return make({"w": ("F32", [4], floats(1, 2, 3, 4)), "v": ("U8", [3], b"abc")}, {"k": "old"})


@pytest.fixture
def journal(model):
    return model.with_name(model.name + ".st-journal")


@pytest.fixture
def edited(model, journal):
    """Interrupts an edit in place of the file: gives the old bytes and the new ones, and what is left."""
    old = model.read_bytes()
    new = old.replace(b"old", b"new").replace(b"abc", b"xyz")
    places = [(old.index(b"old"), 3), (old.index(b"abc"), 3)]
    journal.write_bytes(journal_of(model, new, places))
    return old, new


def write_in_place(path, data):
    with open(path, "r+b") as file:
        file.write(data)


def test_nothing_to_do(cli, model):
    before = model.read_bytes()
    done = cli("repair", model)
    assert (done.code, done.out, done.err) == (0, f"{model}: no edit in place was interrupted\n", "")
    assert model.read_bytes() == before
    done = cli("repair", "--json", model)
    assert done.json == {"files": [{"file": str(model), "recovery": "none", "stretches": 0, "bytes": 0, "done": False}]}


def test_back(cli, model, journal, edited):
    old, new = edited
    write_in_place(model, new[: len(new) - 2] + old[len(old) - 2 :])
    torn, left = model.read_bytes(), journal.read_bytes()
    assert torn not in (old, new)
    for word in ("-n", "--dry-run"):
        done = cli("repair", word, model)
        assert (done.code, done.err) == (0, "")
        assert done.out == f"{model}: an edit in place was interrupted; 6 B in 2 places would be put back\n"
    assert (model.read_bytes(), journal.read_bytes()) == (torn, left)
    done = cli("repair", model)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{model}: an edit in place was interrupted; 6 B in 2 places are put back\n"
    assert model.read_bytes() == old
    assert not journal.exists()


def test_json(cli, model, journal, edited):
    old, new = edited
    write_in_place(model, new[: len(new) - 2])
    rest = {"file": str(model), "recovery": "back", "stretches": 2, "bytes": 6}
    done = cli("repair", "--json", "--dry-run", model)
    assert (done.code, done.json) == (0, {"files": [{**rest, "done": False}]})
    done = cli("repair", "--json", model)
    assert (done.code, done.json) == (0, {"files": [{**rest, "done": True}]})
    assert model.read_bytes() == old


def test_forward(cli, model, journal, edited):
    old, new = edited
    write_in_place(model, new)
    done = cli("repair", model)
    assert done.out == f"{model}: an edit in place was interrupted when all was written; its journal is removed\n"
    assert (model.read_bytes(), journal.exists()) == (new, False)


def test_unfinished(cli, model, journal, edited):
    old, _ = edited
    journal.write_bytes(journal.read_bytes()[:-1])
    before = f"{model}: an edit in place was interrupted before it changed anything; its journal "
    assert cli("repair", "-n", model).out == before + "would be removed\n"
    assert cli("repair", model).out == before + "is removed\n"
    assert (model.read_bytes(), journal.exists()) == (old, False)


def test_foreign(cli, model, journal, edited):
    old, _ = edited
    model.write_bytes(old + b"!")
    done = cli("repair", model)
    assert (done.code, journal.exists()) == (1, True)
    assert "another size" in done.err
    other = model.with_name("other")
    other.write_bytes(old + b"!")
    other.rename(model)
    done = cli("repair", model)
    assert (
        done.out == f"{model}: the edit in place that was interrupted was one of another file; "
        "its journal is removed\n"
    )
    assert (model.read_bytes(), journal.exists()) == (old + b"!", False)


@pytest.mark.parametrize("damage", ["journal", "file"])
def test_refused(cli, model, journal, edited, damage):
    old, _ = edited
    path = journal if damage == "journal" else model
    at = 70 if damage == "journal" else old.index(b"abc")
    data = bytearray(path.read_bytes())
    data[at] ^= 0x80
    write_in_place(path, data)
    before = model.read_bytes(), journal.read_bytes()
    for words in ((), ("-n",), ("--json",)):
        done = cli("repair", *words, model)
        assert done.code == 1
        assert done.err.startswith(f"safetensors: {model}.st-journal: ")
        if words == ("--json",):
            assert done.json["files"][0]["error"]["status"] == "ST_ERR_JOURNAL"
    assert (model.read_bytes(), journal.read_bytes()) == before


def test_several(cli, model, journal, edited, make, tmp_path):
    """One that cannot be used does not keep the others from being repaired."""
    old, _ = edited
    other = make(b"anything", name="other")
    done = cli("repair", tmp_path / "none", model, other)
    assert done.code == 3
    assert done.err == f"safetensors: {tmp_path}/none: cannot be opened: No such file or directory\n"
    assert len(done.lines) == 2 and not journal.exists()
    assert model.read_bytes() == old


def test_usage(cli, model):
    assert cli("repair").code == 2
    assert cli("repair", "--nothing", model).code == 2
    done = cli("repair", model, "-")
    assert (done.code, done.out) == (2, "") and "standard input has no journal" in done.err


def test_names_are_escaped(cli, make):
    path = make(b"", name="a\x1b[31mb\nc")
    done = cli("repair", path)
    assert done.code == 0 and "\x1b" not in done.out and len(done.lines) == 1


def test_check_mentions_it(cli, model, journal, edited):
    old, new = edited
    write_in_place(model, new[: len(new) - 2])
    done = cli("check", model)
    assert done.code == 0
    assert (
        done.err == f"safetensors: {model}: an edit in place is under way or was interrupted; "
        '"safetensors repair" undoes it\n'
    )
    assert cli("check", "--quiet", model).err == ""
    whole = journal.read_bytes()
    journal.write_bytes(whole + b"!")
    done = cli("check", model)
    assert done.code == 0 and done.err.startswith(f"safetensors: {model}.st-journal: ")
    journal.write_bytes(whole)
    assert cli("repair", model).code == 0
    assert cli("check", model).err == ""


UNDONE = "safetensors: {}: an edit in place was interrupted; it is undone first\n"


@pytest.mark.parametrize("torn", ["header", "data"])
@pytest.mark.parametrize(
    "words",
    [
        ("meta", "set", "FILE", "made", "anew"),
        ("meta", "set", "--in-place", "FILE", "k", "two"),
        ("edit", "-r", "v=u", "FILE"),
        ("hash", "-a", "xxh3", "--record", "FILE"),
        ("copy", "FILE", "FILE"),
        ("copy", "FILE", "OTHER"),
        ("edit", "-r", "v=u", "-o", "OTHER", "FILE"),
    ],
)
def test_what_writes_puts_right_first(cli, model, journal, edited, tmp_path, words, torn):
    old, new = edited
    write_in_place(model, new[: len(new) - 2] if torn == "data" else old[:8] + b"?" * 20)
    if torn == "header":
        journal.unlink()
        write_in_place(model, old)
        journal.write_bytes(journal_of(model, old[:8] + b"?" * 20 + old[28:], [(8, 20)]))
        write_in_place(model, old[:8] + b"?" * 10)
        assert cli("ls", model).code == 1
    other = tmp_path / "other"
    done = cli(*(model if word == "FILE" else other if word == "OTHER" else word for word in words))
    assert (done.code, done.err) == (0, UNDONE.format(model))
    assert not journal.exists()
    made = other if "OTHER" in words else model
    assert cli("check", made).code == 0
    data = made.read_bytes()
    assert data.endswith(old[-19:]), "the old bytes of the tensors"
    if "OTHER" in words:
        assert model.read_bytes() == old


def test_dry_run_leaves_all(cli, model, journal, edited):
    _, new = edited
    write_in_place(model, new[: len(new) - 2])
    before = model.read_bytes(), journal.read_bytes()
    assert cli("meta", "set", "-n", model, "made", "anew").code == 0
    assert (model.read_bytes(), journal.read_bytes()) == before


@pytest.mark.parametrize(
    "words", [("meta", "set", "FILE", "a", "b"), ("copy", "FILE", "OTHER"), ("copy", "OK", "FILE")]
)
def test_what_cannot_be_put_right_is_not_written(cli, model, journal, edited, make, tmp_path, words):
    old, _ = edited
    write_in_place(model, old.replace(b"abc", b"a!c"))
    before = model.read_bytes(), journal.read_bytes()
    ok, other = make({"w": ("U8", [1], b"w")}, name="ok"), tmp_path / "other"
    done = cli(*({"FILE": model, "OTHER": other, "OK": ok}.get(word, word) for word in words))
    assert done.code == 1
    assert done.err.startswith(f"safetensors: {model}.st-journal: ")
    assert (model.read_bytes(), journal.read_bytes(), other.exists()) == (*before, False)


@pytest.mark.parametrize("words", [["cat", "-o"], ["split"]])
def test_nothing_is_made_of_what_is_torn(cli, model, journal, edited, tmp_path, words):
    """Unless it was put right first."""
    old, new = edited
    write_in_place(model, new[: len(new) - 2])
    verb, *option = words
    done = cli(verb, model, *option, tmp_path / "other")
    assert (done.code, model.read_bytes()) == (0, old)
    assert not journal.exists()


def test_copy_leaves_no_journal(cli, model, journal, edited):
    """The new file is not the one that the journal is of."""
    assert cli("copy", model, model).code == 0
    before = model.read_bytes()
    assert not journal.exists()
    assert cli("repair", model).out == f"{model}: no edit in place was interrupted\n"
    assert model.read_bytes() == before


@pytest.fixture
def torn(model, journal, edited):
    """A file of which half is new: the header's value, and one byte of the tensor. Gives the old bytes."""
    old, new = edited
    at = old.index(b"abc") + 1
    write_in_place(model, new[:at] + old[at:])
    return old


SAID = 'an edit in place is under way or was interrupted; "safetensors repair" undoes it'


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "FILE"),
        ("show", "FILE", "v"),
        ("stats", "FILE"),
        ("hash", "-a", "xxh3", "FILE"),
        ("diff", "FILE", "FILE"),
        ("meta", "get", "FILE"),
        ("meta", "set", "-n", "FILE", "x", "y"),
        ("edit", "-n", "FILE", "-r", "w=u", "-o", "OUT"),
        ("copy", "-n", "FILE", "OUT"),
        ("cat", "-n", "FILE", "-o", "OUT"),
        ("split", "-n", "FILE", "OUT"),
    ],
    ids=lambda words: words[0],
)
def test_readers_mention_it(cli, model, journal, torn, tmp_path, words):
    """What they give may be half new. They change nothing, and are as good as without."""
    before = model.read_bytes()
    done = cli(*[{"FILE": model, "OUT": tmp_path / "out"}.get(word, word) for word in words])
    assert done.code == 0
    assert set(done.err.splitlines()) == {f"safetensors: {model}: {SAID}"}
    assert model.read_bytes() == before and journal.exists()


def test_a_torn_header_is_told_of(cli, model, journal):
    """What is read is no JSON, and why is said beside it."""
    old = model.read_bytes()
    new, at = old.replace(b'"old"', b"}}}}}"), old.index(b'"old"')
    journal.write_bytes(journal_of(model, new, [(at, 5)]))
    write_in_place(model, new[: at + 2] + old[at + 2 :])
    for words in (("ls", model), ("grep", "x", model), ("hash", "--verify-metadata", model), ("meta", "get", model)):
        done = cli(*words)
        assert done.code in (1, 3) and f"{model}: {SAID}" in done.err
    assert cli("meta", "set", model, "k", "other").code == 0
    assert cli("meta", "get", model, "k").out == "other"
    assert not journal.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("meta", "set", "FILE", "x", "y"),
        ("meta", "set", "-i", "FILE", "k", "abc"),
        ("edit", "FILE", "-r", "w=u"),
        ("copy", "FILE", "FILE"),
        ("hash", "-a", "xxh3", "--record", "FILE"),
    ],
    ids="-".join,
)
def test_writers_undo_it_first(cli, model, journal, torn, words):
    """The bytes that only the journal has would be gone with it."""
    done = cli(*[model if word == "FILE" else word for word in words])
    assert done.code == 0
    assert done.err == f"safetensors: {model}: an edit in place was interrupted; it is undone first\n"
    assert not journal.exists()
    assert cli("show", model, "v", "--values").lines == ["97", "98", "99"]
    if "-i" not in words:
        assert cli("meta", "get", model, "k").out == "old"


def test_writers_leave_what_cannot_be_undone(cli, model, journal, torn):
    journal.write_bytes(journal.read_bytes()[:-1] + b"?")
    before, left = model.read_bytes(), journal.read_bytes()
    done = cli("meta", "set", model, "x", "y")
    assert done.code == 1 and "st-journal" in done.err
    assert (model.read_bytes(), journal.read_bytes()) == (before, left)


def test_a_missing_file_is_told_once(cli, tmp_path):
    done = cli("ls", tmp_path / "none")
    assert done.code == 3 and done.err.count("cannot be opened") == 1


def test_no_rights(cli, model, journal, edited):
    if os.geteuid() == 0:
        pytest.skip("root may do all")
    model.chmod(0o400)
    done = cli("repair", model)
    assert done.code == 3 and "Permission denied" in done.err
    assert journal.exists()


def test_check_repair_wants_it_recovered_first(cli, model, edited, tmp_path):
    """Saving what is left of such a file would keep what the journal can undo."""
    done = cli("check", "--repair", tmp_path / "new", model)
    assert done.code == 1 and '"safetensors repair" undoes it' in done.err
    assert "recover the file by that first" in done.err and not (tmp_path / "new").exists()
    assert cli("repair", model).code == 0
    done = cli("check", "--repair", tmp_path / "new", model)
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "new").read_bytes().endswith(edited[0][-19:])
