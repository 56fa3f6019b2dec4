# SPDX-License-Identifier: Apache-2.0
"""Manual pages and completions, which come from the tables."""
import os
import re
import shutil
import subprocess

import pytest

from program import binary, environment

VERBS = ["ls", "show", "view", "check", "stats", "hash", "diff", "grep", "report", "copy", "edit", "split", "merge",
         "cat", "repair", "bench", "meta-get", "meta-export", "meta-set", "meta-rm", "meta-import", "meta-edit", "help"]
PAGES = ["safetensors.1", *(f"safetensors-{verb}.1" for verb in VERBS)]
DAY = {"SOURCE_DATE_EPOCH": "1700000000"}
FILES = {"bash": "safetensors", "zsh": "_safetensors", "fish": "safetensors.fish"}


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"no {program}")


@pytest.fixture
def generated(cli, tmp_path):
    for kind in ("man", *FILES):
        done = cli("generate", kind, tmp_path, env=DAY)
        assert (done.code, done.out, done.err) == (0, "", "")
    return tmp_path


def test_files(cli, generated):
    assert sorted(os.listdir(generated)) == sorted([*PAGES, *FILES.values()])
    for kind, name in FILES.items():
        assert cli("generate", kind, env=DAY).raw == (generated / name).read_bytes()
    assert cli("generate", "man", env=DAY).raw == (generated / "safetensors.1").read_bytes()


@pytest.mark.parametrize("epoch, day", [
    ("0", "January 1, 1970"), ("1709251199", "February 29, 2024"),
    ("1709251200", "March 1, 2024")])
def test_day_of_the_pages(cli, tmp_path, epoch, day):
    """So that a package can be built the same again."""
    assert cli("generate", "man", tmp_path, env={"SOURCE_DATE_EPOCH": epoch}).code == 0
    for page in PAGES:
        assert (tmp_path / page).read_text().splitlines()[0] == f".Dd {day}"


def test_no_folder(cli, tmp_path):
    done = cli("generate", "man", tmp_path / "absent")
    assert done.code == 3
    assert done.err.endswith("absent/safetensors.1: No such file or directory\n")


@pytest.mark.parametrize("page", PAGES)
def test_pages_tell_the_exit_codes(cli, generated, page):
    """In the words of --help."""
    told = (generated / page).read_text().split(".Sh EXIT STATUS\n")[1].split("\n.Sh ")[0].split()
    told = " ".join(told).replace("\\-", "-")
    text = " ".join(cli("--help").out.split())
    codes = text[text.index("The exit code is 0") + len("The exit code is "):text.index(" Verbs:")]
    assert told == codes
    for code in ("0 when", "1 when", "2 for", "3 when", "130 when"):
        assert code in codes


@needs("mandoc")
@pytest.mark.parametrize("page", PAGES)
def test_pages_are_clean(generated, page):
    done = subprocess.run(["mandoc", "-Tlint", "-Wstyle", page], cwd=generated,
                          capture_output=True, text=True, timeout=60)
    said = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]
    assert said == []


@needs("mandoc")
@pytest.mark.parametrize("page", PAGES[1:])
def test_pages_say_what_help_says(cli, generated, page):
    verb = page[len("safetensors-"):-2].split("-")
    shown = subprocess.run(["mandoc", "-Tascii", page], cwd=generated, capture_output=True,
                           text=True, timeout=60).stdout
    shown = re.sub(".\b", "", shown)
    text = cli("help", *verb).out
    options = re.findall(r"^ {2,6}(?:-\w, )?(--[\w-]+)", text, re.M)
    assert "--help" in options
    listed = shown.split("\nOPTIONS\n")[1]
    assert re.findall(r"^     (?:-\w, )?(--[\w-]+)", listed, re.M) == options
    about = text.split("\n\n")[1].split()
    assert " ".join(about[:4]) in " ".join(shown.split())


@pytest.mark.parametrize("shell", FILES)
def test_shells_can_read_them(generated, shell):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    done = subprocess.run([shell, "-n", generated / FILES[shell]], capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def folder(small, tmp_path):
    """A checkpoint: of its tensors ls names the shards too."""
    shards = tmp_path / "shards"
    shards.mkdir()
    shutil.copy(small, shards)
    return shards


CASES = [
    ([""], {*VERBS[:16], "meta", "help"}),
    (["me"], {"merge", "meta"}),
    (["meta", ""], {"get", "export", "set", "rm", "import", "edit"}),
    (["ls", "--s"], {"--sort"}),
    (["ls", "--sort", ""], {"offset", "name", "size", "dtype"}),
    (["ls", "-s", "n"], {"name"}),
    (["ls", "--color", "a"], {"auto", "always"}),
    (["check", "--r"], {"--repair", "--rules"}),
    (["grep", "x", "FILE", "--max"], {"--max-count"}),
    (["show", "FILE", "b"], {"b.weight"}),
    (["show", "FILE", "a", "b"], {"b.weight"}),
    (["meta", "get", "FILE", ""], {"format"}),
    (["meta", "rm", "FILE", "f"], {"format"}),
    (["meta", "set", "FILE", "f"], {"format"}),
    (["help", "s"], {"show", "split", "stats"}),
    (["stats", "FILE", "b"], {"b.weight"}),
    (["stats", "FOLDER", "b"], {"b.weight"}),
    (["hash", "--algorithm", "x"], {"xxh3", "xxh128"}),
    (["diff", "--eq"], {"--equal-nan"}),
    (["hash", "--ver"], {"--verify", "--verify-metadata"}),
    (["copy", "-O", "f"], {"file"}),
    (["copy", "--exc"], {"--exclude"}),
    (["hash", "--io", "d"], {"direct", "dontcache"}),
    (["copy", "-C", "k"], {"keep"}),
    (["bench", "--c"], {"--cold", "--color"}),
    (["report", "--no"], {"--no-stats"}),
    (["cat", "--metadata", "f"], {"first"}),
    (["split", "--du"], {"--durability"}),
    (["generate", ""], {"man", "bash", "zsh", "fish"}),
]


@needs("bash")
@pytest.mark.parametrize("words, expected", [
    *CASES, (["ls", "--sort", "=", "s"], {"size"}), (["ls", "-g", "x", "--tr"], {"--tree"}),
    (["ls", "--", "--t"], set()), (["meta", "export", "-o", "NEAR"], {"FILE"}),
    (["hash", "-c", "NEAR"], {"FILE"}), (["copy", "FILE", "NEAR"], {"FILE"}),
    (["diff", "FILE", "NEAR"], {"FILE"}),
    (["bench", "FILE", "NEAR"], {"FILE"}),
    (["grep", "x", "NEAR"], {"FILE"})])
def test_bash_completes(generated, small, folder, words, expected):
    """Calls the function as the shell does."""
    names = {"FILE": str(small), "NEAR": str(small)[:-3], "FOLDER": str(folder)}
    words = [names.get(word, word) for word in words]
    script = ('source "$1"; shift; COMP_WORDS=(safetensors "${@:2}"); '
              'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _safetensors "$1"; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, "bash", generated / "safetensors", binary(),
                           *words], capture_output=True, text=True, env=environment(), timeout=60)
    assert done.stderr == ""
    assert set(done.stdout.split()) == {names.get(word, word) for word in expected}


@needs("bash")
def test_bash_never_runs_a_name(generated, make):
    """A tensor's name that is a command is quoted."""
    path = make({"$(touch gone)": ("U8", [1], None), "`touch gone`": ("U8", [1], None)})
    script = ('source "$1"; COMP_WORDS=(safetensors show "$3" ""); COMP_CWORD=3; '
              '_safetensors "$2"; printf "%s\\n" "${COMPREPLY[@]}"; '
              'eval "echo ${COMPREPLY[0]} ${COMPREPLY[1]}"')
    done = subprocess.run(["bash", "-c", script, "bash", generated / "safetensors", binary(), path],
                          capture_output=True, text=True, env=environment(), cwd=path.parent,
                          timeout=60)
    assert done.stdout.splitlines() == ["\\$\\(touch\\ gone\\)", "\\`touch\\ gone\\`",
                                        "$(touch gone) `touch gone`"]
    assert not (path.parent / "gone").exists()


@needs("fish")
@pytest.mark.parametrize("words, expected", CASES)
def test_fish_completes(generated, small, folder, tmp_path, words, expected):
    """Asks the shell itself."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "safetensors").symlink_to(binary())
    names = {"FILE": str(small), "FOLDER": str(folder)}
    line = " ".join(["safetensors", *[names.get(word, word) for word in words]])
    env = environment({"HOME": str(tmp_path), "PATH": f"{tools}:{os.environ['PATH']}"})
    done = subprocess.run(["fish", "--no-config", "-c", 'source $argv[1]; complete -C $argv[2]',
                           generated / "safetensors.fish", line], capture_output=True, text=True,
                          env=env, timeout=60)
    offered = {each.split("\t")[0] for each in done.stdout.splitlines()}
    assert done.stderr == ""
    if words == [""] or words[-1] == "--s":
        assert expected <= offered
    else:
        assert offered == expected
