# SPDX-License-Identifier: Apache-2.0
"""The verb bench: what it measures, what it says where something cannot be measured, and its documents.
How long anything took is nobody's concern here."""
import json
import mmap
import os
import re
import shutil
import signal
import statistics
import tempfile

import pytest

from model_files import build, frame

STRATEGIES = ["auto", "pread", "map", "direct", "uring", "dontcache", "populate"]
WAYS = [*STRATEGIES, "views"]
SERIES = {"bytes", "seconds", "median", "cpu", "rate"}
SIZE = (20 << 20) + 3
TENSORS = {"w": ("U8", [SIZE], bytes(range(256)) * (SIZE // 256) + b"\1\2\3"),
           "e": ("F32", [0, 7], b""), "v": ("I16", [5000], bytes(10000))}
BYTES = SIZE + 10000


@pytest.fixture
def model(make):
    return make(TENSORS)


@pytest.fixture
def in_memory():
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no tmpfs to write to")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = os.path.join(folder, "model")
        with open(path, "wb") as file:
            file.write(build(TENSORS))
        yield path


@pytest.fixture
def on_disk(cli, model):
    """The file, if the temporary folder is no tmpfs."""
    if explained(cli, model)["latency"] == "memory":
        pytest.skip("the temporary folder is in memory")
    return model


def explained(cli, path):
    return cli("hash", "--explain", "--json", path).json["files"][0]["explanations"][0]


def bench(cli, *words):
    done = cli("bench", "--json", *words)
    assert done.code == 0
    return done.json["files"]


def series_check(series, runs):
    assert len(series["seconds"]) == runs
    assert series["median"] == pytest.approx(statistics.median(series["seconds"]))
    assert series["cpu"] >= 0 and min(series["seconds"]) > 0


def test_document(cli, model):
    before = model.read_bytes()
    found, = bench(cli, model)
    assert model.read_bytes() == before
    assert {name: found[name] for name in ("file", "size", "tensors", "bytes", "runs", "memory")} == {
        "file": str(model), "size": len(before), "tensors": 3, "bytes": BYTES, "runs": 3,
        "memory": None}
    assert found["latency"] == explained(cli, model)["latency"]
    assert [state["state"] for state in found["states"]] == ["cold", "warm"]
    for state, ceiling in zip(found["states"], ("disk", "memory")):
        if state["reason"]:
            assert found["latency"] == "memory" and state["results"] == []
            continue
        assert state["ceiling"]["name"] == ceiling
        rate = state["ceiling"].get("rate")
        if not state["ceiling"]["reason"]:
            series_check(state["ceiling"], 3)
            assert rate == pytest.approx(state["ceiling"]["bytes"] /
                                         min(state["ceiling"]["seconds"]))
        assert [each["strategy"] for each in state["results"]] == WAYS
        for each in state["results"]:
            assert each.keys() == SERIES | {"strategy", "share", "replaced", "explanation"}
            series_check(each, 3)
            assert each["bytes"] == each["explanation"]["bytes"] == BYTES
            assert each["rate"] == pytest.approx(BYTES / each["median"])
            assert each["share"] == (pytest.approx(each["rate"] / rate) if rate else None)
            assert each["explanation"]["io"] in STRATEGIES[1:]
            asked = each["strategy"] not in ("auto", "views")
            assert each["replaced"] == (asked and each["explanation"]["io"] != each["strategy"])
        assert state["auto"] == state["results"][0]["explanation"]["io"]


def test_lines(cli, model):
    done = cli("bench", "-n", "2", model)
    assert done.code == 0
    rows = [line.split("\t") for line in done.lines]
    assert all(len(row) == 10 and row[9] == str(model) for row in rows)
    for state, ceiling in (("cold", "disk"), ("warm", "memory")):
        of_state = [row for row in rows if row[0] == state]
        if not of_state:
            assert state == "cold" and "cold: not measured: the file lies in memory" in done.err
            continue
        assert [row[1] for row in of_state] == [ceiling, *WAYS]
        assert of_state[0][2] == of_state[0][7] == "-"
        for row in of_state[1:]:
            least, median, most = float(row[4]), float(row[3]), float(row[5])
            assert row[2] in STRATEGIES[1:] and least <= median <= most
    assert "warm: " not in done.err


@pytest.mark.parametrize("words, states", [
    (["--cold"], ["cold"]), (["--warm"], ["warm"]), (["--cold", "--warm"], ["cold", "warm"])])
def test_states(cli, model, words, states):
    found, = bench(cli, "-n", "1", "-i", "pread", *words, model)
    assert [state["state"] for state in found["states"]] == states


@pytest.mark.parametrize("text, ways", [
    ("pread", ["pread"]), ("views,auto", ["auto", "views"]), ("map,map,direct", ["map", "direct"])])
def test_strategies_picked(cli, model, text, ways):
    found, = bench(cli, "--warm", "--runs", "1", "--io", text, model)
    state, = found["states"]
    assert [each["strategy"] for each in state["results"]] == ways
    assert (state["auto"] is None) == ("auto" not in ways)
    assert state["results"][0]["explanation"]["io"] in STRATEGIES[1:]


def test_threads(cli, model):
    found, = bench(cli, "--warm", "-n", "1", "-t", "1", model)
    assert {each["explanation"]["threads"] for each in found["states"][0]["results"]} == {1}


def test_cold_is_cold_and_warm_is_warm(cli, on_disk):
    found, = bench(cli, "-n", "1", "-i", "auto,pread", on_disk)
    cold, warm = found["states"]
    if cold["resident"] is None:
        assert "cannot be told" in cold["note"]
    elif found["latency"] == "local":
        assert cold["note"] is warm["note"] is None
        assert cold["resident"] <= BYTES // 100
        assert warm["resident"] >= BYTES - BYTES // 100
    assert warm["auto"] == "pread"


def test_file_that_stays_in_the_cache(cli, on_disk):
    if explained(cli, on_disk)["resident"] is None:
        pytest.skip("this system does not tell what is in the page cache")
    with open(on_disk, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert sum(view[i] for i in range(0, len(view), mmap.PAGESIZE)) > 0
        found, = bench(cli, "--cold", "-n", "1", "-i", "pread", on_disk)
        done = cli("bench", "--cold", "-n", "1", "-i", "pread", on_disk)
    state, = found["states"]
    assert state["resident"] > BYTES // 2
    assert "stayed in the page cache" in state["note"]
    assert done.code == 0 and f"{on_disk}: cold: {state['note']}\n" in done.err


def test_file_in_memory(cli, terminal, in_memory):
    found, = bench(cli, "-n", "1", in_memory)
    cold, warm = found["states"]
    assert cold["reason"] == "the file lies in memory"
    assert cold["results"] == [] and "ceiling" not in cold and cold["auto"] is None
    assert warm["reason"] is None and len(warm["results"]) == len(WAYS)
    done = cli("bench", "-n", "1", "--cold", in_memory)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"safetensors: {in_memory}: cold: not measured: the file lies in memory\n"
    shown = terminal("bench", "-n", "1", "-i", "pread", in_memory, env={"NO_COLOR": "1"})
    assert "in memory, 1 run each\n" in shown.out
    assert shown.lines[-1] == "cold: not measured: the file lies in memory"


def test_table(terminal, model):
    done = terminal("bench", "--warm", "-n", "2", model, env={"NO_COLOR": "1"})
    assert (done.code, done.err) == (0, "")
    lines = done.lines
    assert re.fullmatch(rf"{model}: 3 tensors, 20\.0 MiB, \w[\w ]*, 2 runs each", lines[0])
    assert re.fullmatch(r"warm +seconds +least +most +GB/s +of memory +CPU s", lines[2])
    rows = [line.split() for line in lines[3:12]]
    assert [row[0] for row in rows] == ["memory", *WAYS]
    assert all(len(line) < 80 for line in lines[2:12])
    chosen = [row[0] for row in rows if row[1] == "*"]
    assert len(chosen) == 1
    assert any(line.startswith(f"warm: auto chose {chosen[0]}: ") for line in lines[12:])


def test_colours(terminal, model):
    done = terminal("bench", "--warm", "-n", "1", "-i", "pread", model)
    assert f"\x1b[1m{model}\x1b[0m: " in done.out


def refusing():
    """What runs a program that may not set up an io_uring."""
    if not shutil.which("strace"):
        pytest.skip("no strace")
    return ["-f", "-qq", "-e", "trace=io_uring_setup", "-e", "inject=io_uring_setup:error=EPERM"]


def test_refused_strategies_are_named(traced, terminal, on_disk):
    words = ["bench", "--warm", "-n", "1", "-i", "uring,pread"]
    done, _ = traced(refusing()[2:], *words, "--json", on_disk)
    assert done.code == 0
    pread, refused = done.json["files"][0]["states"][0]["results"]
    assert refused["strategy"] == "uring" and refused["replaced"]
    assert refused["explanation"]["io"] in ("direct", "dontcache", "pread")
    assert not pread["replaced"]
    log = on_disk.parent / "log"
    shown = terminal(*words, on_disk, env={"NO_COLOR": "1", "ASAN_OPTIONS": "detect_leaks=0"},
                     under=["strace", "-o", log, *refusing()])
    note, = [line for line in shown.lines if " could not be had: " in line]
    assert note.startswith(f"warm: uring could not be had: {refused['explanation']['io']}: ")


def test_ceiling_that_is_refused(traced, on_disk):
    """O_DIRECT may be refused: the strategies are measured all the same. Of a file in the page cache nothing
    else opens it so first."""
    on_disk.read_bytes()
    _, calls = traced(["-P", on_disk, "-e", "trace=openat"], "bench", "--cold", "-n", "1", "-i",
                      "pread", on_disk)
    count = [("O_DIRECT" in call) for call in calls].index(True) + 1
    on_disk.read_bytes()
    done, _ = traced(["-P", on_disk, "-e", "trace=openat", "-e",
                      f"inject=openat:error=EINVAL:when={count}"], "bench", "--json", "--cold",
                     "-n", "1", "-i", "pread", on_disk)
    assert done.code == 0
    state, = done.json["files"][0]["states"]
    assert state["ceiling"] == {"name": "disk", "reason": "O_DIRECT: Invalid argument"}
    assert state["results"][0]["share"] is None
    series_check(state["results"][0], 1)


def test_piece_by_piece(cli, terminal, model):
    found, = bench(cli, "-n", "1", "--memory", "2M", model)
    assert found["memory"] == 2 << 20
    for state in found["states"]:
        assert state["reason"] or [each["strategy"] for each in state["results"]] == WAYS
    shown = terminal("bench", "-n", "1", "--warm", "-i", "pread", "-m", "2M", model)
    assert shown.lines[1] == "Loaded piece by piece, 2.0 MiB in memory at once."


def test_several_files(cli, make, model, tmp_path):
    bad, empty = make(b"short", name="bad"), make({"e": ("U8", [0], b"")}, name="empty")
    small = make({"t": ("U8", [1], b"\1")}, name="small")
    done = cli("bench", "--json", "-n", "1", "--warm", "-i", "pread,views", tmp_path / "absent", bad,
               empty, small, model)
    assert done.code == 3
    files = done.json["files"]
    assert [each.get("error", {}).get("status") for each in files] == [
        "ST_ERR_IO", "ST_ERR_HEADER_TOO_SMALL", "ST_ERR_NOT_FOUND", None, None]
    assert all(each.keys() == {"file", "error"} for each in files[:3])
    assert [each["bytes"] for each in files[3:]] == [1, BYTES]
    assert done.err.splitlines()[-1] == f"safetensors: {empty}: it has no bytes to load"
    assert cli("bench", empty).code == 2 and cli("bench", bad).code == 1


def test_many_tensors_of_all_kinds(cli, make):
    tensors = {f"t{i}": (["U8", "F64", "F16"][i % 3], [i % 7], None) for i in range(3000)}
    found, = bench(cli, "-n", "1", make({**tensors, "f": ("F4", [2, 3], b"\1\2\3")}))
    assert found["tensors"] == 3001


def test_unknown_dtypes(cli, make):
    path = make(frame('{"q":{"dtype":"Q7","shape":[3],"data_offsets":[0,2]}}', b"\1\2"))
    assert cli("bench", path).code == 1
    assert bench(cli, "-n", "1", "--unknown-dtypes", path)[0]["bytes"] == 2


def test_signals_leave_a_whole_document(traced, model, small):
    """One that comes when a run begins ends the program after it, and no other file is begun."""
    done, _ = traced(["-e", "trace=getrusage", "-e", "inject=getrusage:signal=SIGINT:when=4"],
                     "bench", "--warm", "--json", model, small)
    assert done.code == 128 + signal.SIGINT
    found, = json.loads(done.raw)["files"]
    assert found["error"]["status"] == "ST_ERR_STOPPED"
    assert done.err == f"safetensors: {model}: stopped by a signal\n"


@pytest.mark.parametrize("words, message", [
    ([], "FILE is missing"),
    (["-"], "standard input lies nowhere: name the FILE"),
    (["f", "-"], "standard input lies nowhere: name the FILE"),
    (["-n", "0", "f"], "--runs takes a number from 1 to 1000"),
    (["-n", "1001", "f"], "--runs takes a number from 1 to 1000"),
    (["-n", "x", "f"], '--runs takes a whole number, not "x"'),
    (["-t", "1025", "f"], "--threads takes a number up to 1024"),
    (["-m", "4K", "f"], "--memory takes 1M or more"),
    (["-m", "0x", "f"], "--memory takes a number of bytes"),
    (["-i", "urng", "f"], '--io takes strategies with commas between, and "urng" is none; did you '
                          'mean "uring"?'),
    (["-i", "auto,", "f"], '--io takes strategies with commas between, and "" is none'),
    (["-i", "", "f"], '--io takes strategies with commas between, and "" is none')])
def test_wrong_usage(cli, words, message):
    done = cli("bench", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("safetensors: " + message)


def test_names_are_escaped(cli, terminal, make):
    path = make({"t": ("U8", [1], b"\1")}, name="a\x1b[31m")
    for done in (cli("bench", "-n", "1", path), terminal("bench", "-n", "1", path)):
        assert done.code == 0
        assert "\x1b[31m" not in done.out + done.err and "a\\u001b[31m" in done.out
