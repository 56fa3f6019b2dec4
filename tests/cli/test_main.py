# SPDX-License-Identifier: Apache-2.0
"""The program as a whole: verbs, options, help, streams, and exit codes."""
import os
import re
import subprocess

import pytest

from program import binary, environment

WRITING = ["meta set", "meta rm", "meta import", "meta edit"]
VERBS = ["ls", "show", "view", "check", "stats", "hash", "diff", "grep", "report", "copy", "edit", "split", "merge",
         "cat", "repair", "bench", "meta get", "meta export", *WRITING]
# Where a verb's table of options is, unless in cmd_<verb>.c.
TABLES = {"meta get": "cmd_meta.c", "meta export": "cmd_meta.c", "meta edit": "rewrite.h",
          "meta set": "cmd_meta_write.c", "meta rm": "cmd_meta_write.c", "meta import": "cmd_meta_write.c",
          "cat": "cmd_merge.c"}
# The rows that tables share, and the options that they are.
ROWS = {"TARGET_ROW_PATH": "output", "TARGET_ROW_CLOBBER": "no-clobber", "TARGET_ROW_DRY_RUN": "dry-run",
        "TARGET_ROW_DURABILITY": "durability", "LAYOUT_ROW_CANONICAL": "order", "LAYOUT_ROW_FILE": "order",
        "LAYOUT_ROW_ALIGN": "align", "LAYOUT_ROW_RESERVE": "reserve"}
DRY = ["check", "hash", "report", "copy", "edit", "split", "merge", "cat", "repair", "meta export", *WRITING]
SOURCES = os.path.join(os.path.dirname(__file__), "..", "..", "cli")


def test_version(cli):
    done = cli("--version")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"safetensors \d+\.\d+\.\d+\n", done.out)


def test_no_verb(cli):
    done = cli()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("safetensors: which verb?\nusage: safetensors ")


@pytest.mark.parametrize("words, message", [
    (["lss"], 'safetensors: no verb "lss"; did you mean "ls"?'),
    (["chekc"], 'safetensors: no verb "chekc"; did you mean "check"?'),
    (["xyzzyx"], 'safetensors: no verb "xyzzyx"'),
    (["meta", "gte"], 'safetensors: no verb "meta gte"; did you mean "meta get"?'),
    (["meta"], "safetensors: VERB is missing"),
    (["--verbose"], "safetensors: unknown option --verbose"),
    (["--versio"], "safetensors: unknown option --versio; did you mean --version?"),
    (["help", "lss"], 'safetensors: no help for "lss"'),
    (["help", "ls", "x"], 'safetensors: no help for "x"'),
    (["ls"], "safetensors: FILE is missing"),
    (["show", "f"], "safetensors: TENSOR[INDEX] is missing"),
    (["meta", "get", "f", "k", "x"], 'safetensors: one argument too many: "x"'),
    (["ls", "--sort", "color", "f"],
     'safetensors: --sort is one of offset, name, size, dtype, not "color"'),
    (["ls", "--sort", "nmae", "f"], 'safetensors: --sort is one of offset, name, size, dtype, not '
                                    '"nmae"; did you mean "name"?'),
    (["hash", "--io", "dierct", "f"],
     'safetensors: --io is one of auto, pread, map, direct, uring, dontcache, populate, not '
     '"dierct"; did you mean "direct"?'),
    (["ls", "--sort"], "safetensors: --sort needs a value: --sort KEY"),
    (["ls", "-s"], "safetensors: -s needs a value: -s KEY"),
    (["ls", "--flat=yes", "f"], "safetensors: --flat takes no value"),
    (["ls", "--tot", "f"], "safetensors: unknown option --tot"),
    (["ls", "-Z", "f"], "safetensors: unknown option -Z"),
    (["ls", "-lZ", "f"], "safetensors: unknown option -Z"),
    (["check", "--max", "many", "f"], 'safetensors: --max takes a whole number, not "many"'),
    (["check", "--max=-1", "f"], 'safetensors: --max takes a whole number, not "-1"'),
    (["check", "--max=99999999999999999999", "f"],
     'safetensors: --max takes a whole number, not "99999999999999999999"'),
    (["check"], "safetensors: FILE is missing"),
    (["ls", "--regex", "(", "f"], 'safetensors: the expression "(": '),
    (["ls", "--dtype", "F99", "f"], 'safetensors: --dtype "F99": no such dtype'),
    (["generate", "csh"], 'safetensors: no such kind: "csh"'),
])
def test_wrong_usage(cli, words, message):
    done = cli(*words)
    assert (done.code, done.out) == (2, "")
    first, second, *_ = done.err.splitlines()
    assert first.startswith(message)
    assert second.startswith("usage: safetensors ")


@pytest.mark.parametrize("words", [
    ["ls", "--sort", "color", "f"], ["ls", "--regex", "(", "f"], ["show", "f"], ["check"],
    ["check", "--max", "many", "f"], ["stats", "--bins", "0", "f"], ["hash"],
    ["hash", "-m", "m", "-"], ["copy", "f"], ["copy", "--align", "3", "f", "g"],
    ["copy", "f", "-"], ["diff", "f"], ["diff", "--rtol", "x", "f", "g"], ["view"], ["split", "f"],
    ["split", "-s", "5Gb", "f", "g"], ["merge", "f"], ["merge", "f", "g", "-o", "h"], ["cat", "-o", "f"],
    ["cat", "-p", "x", "f", "g", "-o", "h"], ["bench"], ["bench", "-"], ["bench", "--runs", "0", "f"],
    ["meta", "get"], ["meta", "export"]])
def test_wrong_usage_has_no_document(cli, words):
    verb, rest = (words[:2], words[2:]) if words[0] == "meta" else (words[:1], words[1:])
    for order in ([*verb, "--json", *rest], [*words, "--json"]):
        done = cli(*order)
        assert (done.code, done.out) == (2, "")
        assert "usage: safetensors " in done.err


def test_escapes_in_wrong_usage(cli):
    done = cli("ls", "--no\x1b[31m\u202e", "f")
    assert done.code == 2
    assert "\x1b" not in done.err and "\u202e" not in done.err
    assert "--no\\u001b[31m\\u202e" in done.err


def table_options(verb):
    """The long options in the source's tables."""
    with open(os.path.join(SOURCES, TABLES.get(verb, f"cmd_{verb}.c")), encoding="utf-8") as source:
        text = source.read()
    if verb == "merge":
        text = text[:text.index("cat_options[]")]
    if verb != "cat" and TABLES.get(verb, "").startswith("cmd_"):
        table = verb.split()[1] + "_options[]"
        text = text[text.index(table):]
        text = text[:text.index("};")] + '"expand", '
    shared = {name for row, name in ROWS.items() if row + "(" in text}
    return shared | set(re.findall(r'\{OPT_\w+, (?:0|\'.\'), "([\w-]+)"', text))


@pytest.mark.parametrize("verb", VERBS)
def test_help_lists_every_option(cli, verb):
    done = cli(*verb.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0].startswith(f"usage: safetensors {verb} [OPTION]... ")
    shown = set(re.findall(r"^ {2,6}(?:-\w, )?--([\w-]+)", done.out, re.M))
    common = {"help", "json", "color", "upstream", "unknown-dtypes"}
    if verb in ("ls", "stats", "diff", "copy", "report"):
        common |= {"glob", "regex", "exclude", "dtype"}
    if verb in ("show", "view", "stats", "hash", "diff", "copy", "report"):
        common |= {"io", "explain"}
    if verb in WRITING:
        common |= {"output", "in-place", "dry-run", "durability", "reserve"}
    assert table_options(verb)
    assert shown >= table_options(verb) | common
    assert all(len(line) <= 80 for line in done.lines)
    assert cli("help", *verb.split()).out == done.out
    assert cli(*verb.split(), "-h").out == done.out


@pytest.mark.parametrize("verb", VERBS)
def test_what_writes_has_a_dry_run(cli, verb):
    """By the same letter everywhere; none keeps files by that letter."""
    text = cli(*verb.split(), "--help").out
    assert ("  -n, --dry-run" in text) == (verb in DRY)
    assert ("--dry-run" in text) == (verb in DRY)
    assert not re.search(r"-\w, --no-clobber", text)


def test_main_help_lists_every_verb(cli):
    done = cli("--help")
    assert (done.code, done.err) == (0, "")
    for verb in VERBS + ["help"]:
        assert re.search(rf"^  {verb}  +\S", done.out, re.M)
    assert "generate" not in done.out
    assert cli("help").out == done.out
    assert cli("meta", "--help").out == cli("help", "meta").out
    assert re.search(r"^  meta export +\S", cli("help", "meta").out, re.M)


def test_help_fits_the_terminal(terminal):
    done = terminal("ls", "--help", columns=60)
    assert done.code == 0
    text = done.out.split("\nExamples:")[0]  # whose commands stay whole
    assert 50 < max(map(len, text.splitlines())) <= 60


def test_options_may_follow_and_stop(cli, make):
    path = make({"x": ("U8", [1], b"\1")}, name="--flat")
    here = path.parent
    assert cli("ls", "--", "--flat", cwd=here).code == 0
    assert cli("ls", "./--flat", "--totals", cwd=here).lines[-1].startswith("total\t1\t")
    assert cli("ls", "-lb", "--sort=name", "-sname", "--", "--flat", cwd=here).code == 0


def test_exit_code_is_the_highest(cli, make, tmp_path, small):
    bad = make(b"\xff" * 64, name="bad.safetensors")
    absent = tmp_path / "absent.safetensors"
    done = cli("ls", bad, small)
    assert done.code == 1 and "b.weight" in done.out and str(bad) in done.err
    done = cli("ls", absent, bad, small)
    assert done.code == 3 and "b.weight" in done.out
    assert len(done.err.splitlines()) == 2
    assert all(line.startswith("safetensors: ") for line in done.err.splitlines())


# grep takes a folder, and tells of what is absent in tests of its own.
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "grep"])
def test_what_cannot_be_read(cli, verb, tmp_path):
    out = tmp_path / "out"
    tail = {"show": ["t"], "copy": [out], "split": [out], "merge": ["-o", out], "cat": ["-o", out],
            "diff": [tmp_path / "other"], "edit": ["-x", "*"], "meta set": ["k", "v"], "meta rm": ["k"],
            "meta import": ["-"]}.get(verb, [])
    # What they make of a folder without models stands in test_checkpoints.py.
    for path in (tmp_path / "absent", tmp_path / "absent" / "folder"):
        done = cli(*verb.split(), path, *tail)
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith(f"safetensors: {path}: ")


@pytest.mark.parametrize("words", [["ls", "-"], ["show", "-", "a"], ["check", "-"],
                                   ["meta", "get", "-"], ["meta", "export", "-"], ["stats", "-"],
                                   ["stats", "-", "a"], ["hash", "-a", "xxh3", "-"],
                                   ["hash", "-a", "xxh3", "-t", "-"]])
def test_standard_input(cli, words, small):
    named = cli(*[str(small) if word == "-" else word for word in words])
    piped = cli(*words, stdin=small.read_bytes())
    with open(small, "rb") as stream:
        redirected = cli(*words, stdin=stream)
    assert named.code == piped.code == redirected.code == 0
    assert piped.out == redirected.out == named.out.replace(str(small), "-")


def test_standard_input_twice(cli, small):
    done = cli("ls", "-", "-", stdin=small.read_bytes())
    assert done.code == 0
    assert done.out.count("b.weight") == 2


def test_standard_input_that_is_bad(cli):
    done = cli("ls", "-", stdin=b"short")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("safetensors: standard input: ")


def test_standard_input_has_nowhere_to_go(cli, small):
    done = cli("ls", "-", stdin=small.read_bytes(), env={"TMPDIR": "/nonexistent"})
    assert (done.code, done.out) == (3, "")
    assert "/nonexistent/safetensors-" in done.err and "No such file" in done.err
    done = cli("ls", "-", stdin=small.read_bytes(), env={"TMPDIR": "/x" * 5000})
    assert done.code == 3 and done.err.endswith("/x: File name too long\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("words", [
    ["ls", "FILE"], ["ls", "--json", "FILE"], ["show", "FILE", "a"], ["check", "FILE"],
    ["show", "--raw", "FILE", "a"], ["meta", "get", "FILE"], ["meta", "export", "FILE"],
    ["stats", "FILE"], ["stats", "FILE", "-H", "a"], ["hash", "-a", "xxh3", "FILE"],
    ["hash", "-a", "xxh3", "-t", "FILE"], ["hash", "-a", "xxh3", "-m", "-", "FILE"],
    ["hash", "--explain", "FILE"], ["diff", "--json", "FILE", "FILE"], ["bench", "-n", "1", "--warm", "-i", "pread", "FILE"],
    ["meta", "export", "FILE", "-o", "/dev/full"], ["--help"], ["--version"],
    ["generate", "bash"], ["check", "--rules"]])
def test_full_disk(cli, words, small):
    words = [str(small) if word == "FILE" else word for word in words]
    with open("/dev/full", "wb") as full:
        done = cli(*words, stdout=full)
    name = "/dev/full" if "-o" in words else "standard output"
    assert done.code == 3
    assert done.err == f"safetensors: {name}: No space left on device\n"


def test_closed_standard_output(small):
    done = subprocess.run(["sh", "-c", '"$0" ls "$1" >&-', binary(), small],
                          stderr=subprocess.PIPE, env=environment(), timeout=60)
    assert done.returncode == 3
    assert done.stderr == b"safetensors: standard output: Bad file descriptor\n"


@pytest.mark.parametrize("ignore", ["", "trap '' PIPE; "])
def test_reader_that_leaves(make, ignore):
    """`| head` ends the program without a word, whether SIGPIPE reaches it or not."""
    path = make({f"t{i}": ("U8", [1], b"\0") for i in range(5000)})
    done = subprocess.run(
        ["bash", "-c", ignore + '"$0" ls "$1" | head -n 1; echo "${PIPESTATUS[0]}"', binary(),
         path], capture_output=True, env=environment(), timeout=60)
    first, code = done.stdout.decode().splitlines()
    assert first.endswith("\tt0")
    assert (code, done.stderr) == ("0", b"")


def test_reader_that_leaves_keeps_the_verdict(make):
    """What was found before the reader left still counts."""
    header = ",".join(f'"t{i}":{{"dtype":"X","shape":[],"data_offsets":[0,0]}}'
                      for i in range(3000)).encode()
    path = make(len(header + b"{}").to_bytes(8, "little") + b"{" + header + b"}")
    done = subprocess.run(["bash", "-c", '"$0" check -m 100000 "$1" | head -n 1; '
                           'echo "${PIPESTATUS[0]}"', binary(), path],
                          capture_output=True, env=environment(), timeout=60)
    assert done.stdout.decode().splitlines()[-1] == "1"
    assert done.stderr == b""


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_reader_that_leaves_a_difference(make, options):
    """Files that differ still do when nobody reads in what."""
    a, b = (make({f"t{i}": ("U8", [1], byte) for i in range(20000)}, name=f"{byte[0]}")
            for byte in (b"\0", b"\1"))
    done = subprocess.run(["bash", "-c", '"$0" diff "$@" | head -c 10 >/dev/null; echo "${PIPESTATUS[0]}"',
                           binary(), *options, a, b], capture_output=True, env=environment(), timeout=60)
    assert (done.stdout, done.stderr) == (b"1\n", b"")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_reader_that_leaves_the_work(make, tmp_path, options):
    """What is there for what it does to files does it, whether anybody reads of it or not."""
    shape = {f"t{i}": ("F32", [1], b"\0" * 4) for i in range(3000)}
    many, made = make(shape, name="many"), tmp_path / "made"
    several = [make({"w": ("U8", [1], b"\0")}, name=f"{i}") for i in range(300)]

    def run(*args):
        done = subprocess.run(["bash", "-c", '"$0" "$@" | true; echo "${PIPESTATUS[0]}"', binary(), *args, *options],
                              capture_output=True, env=environment(), timeout=60)
        assert (done.stdout, done.stderr) == (b"0\n", b"")

    run("edit", many, "--cast", "BF16", "-o", made)
    assert made.stat().st_size > 6000
    run("hash", "-a", "xxh3", "--record", *several)
    assert all(b"st.hash.xxh3" in path.read_bytes() for path in several)


def test_json_is_one_document_for_several_files(cli, make, small, tmp_path):
    absent = tmp_path / "absent"
    bad = make(b"", name="bad")
    done = cli("ls", "--json", small, absent, bad)
    assert done.code == 3
    files = done.json["files"]
    assert [each["file"] for each in files] == [str(small), str(absent), str(bad)]
    assert "error" not in files[0]
    assert files[1]["error"]["status"] == "ST_ERR_IO"
    assert files[1]["error"]["offset"] is None
    assert files[2]["error"]["status"] == "ST_ERR_HEADER_TOO_SMALL"
    assert files[2]["error"]["message"] in done.err


def test_json_is_indented_on_a_terminal_only(cli, terminal, small):
    piped = cli("ls", "--json", small)
    shown = terminal("ls", "--json", small)
    assert len(piped.lines) == 1 and len(shown.lines) > 10
    assert piped.json == shown.json


def test_unknown_dtypes(cli, make):
    path = make(b'\x3e\0\0\0\0\0\0\0{"t":{"dtype":"Q7","shape":[3],"data_offsets":[0,2]}}'
                .ljust(8 + 0x3e) + b"\xab\xcd")
    done = cli("ls", path)
    assert (done.code, done.out) == (1, "")
    assert "Q7" in done.err
    done = cli("ls", "--unknown-dtypes", path)
    assert (done.code, done.out) == (0, "Q7\t[3]\t2\t70\tt\n")
    assert cli("ls", "--unknown-dtypes", "-d", "q7", path).out == done.out
    done = cli("show", "--unknown-dtypes", path, "t")
    assert done.code == 2 and "  dtype     Q7\n" in done.out
    assert "its dtype is unknown" in done.err
    done = cli("show", "--unknown-dtypes", "--raw", path, "t")
    assert (done.code, done.raw) == (0, b"\xab\xcd")
    done = cli("show", "--unknown-dtypes", "--json", path, "t")
    assert (done.code, done.json["files"][0]["tensors"][0]["values"]) == (0, None)


def test_upstream_takes_duplicates(cli, make):
    text = (b'{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
            b'"t":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}')
    path = make(len(text).to_bytes(8, "little") + text + b"\1")
    assert cli("ls", path).code == 1
    done = cli("ls", "--upstream", path)
    assert (done.code, done.out.split("\t")[0]) == (0, "I8")


def test_the_start_of_a_word(cli, small):
    """Neither options nor names can be cut short; what goes on so is named."""
    assert "; did you mean --dry-run?" in cli("edit", "--dry", small).err
    assert '; did you mean "stats"?' in cli("sta", small).err
