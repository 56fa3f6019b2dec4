# SPDX-License-Identifier: Apache-2.0
import re

import pytest

from model_files import frame

TWICE = ('{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
         '"t":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}')
LINE = re.compile(r"(.*?):(\d+): (error|warning|note): (.*) \[([a-z0-9-]+)\]")


@pytest.fixture
def broken(make):
    """An unknown dtype, a hole, and bytes behind the end."""
    return make(frame('{"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,1]},'
                      '"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}', b"123456789"),
                name="broken")


def findings(done):
    return [LINE.fullmatch(line).groups() for line in done.lines[:-1]]


def test_a_good_file(cli, small):
    done = cli("check", small)
    assert (done.code, done.err) == (0, "")
    assert done.lines[-1].startswith(f"{small}: good, 0 errors, ")
    assert done.lines[-1].endswith(f"; 2 tensors in {small.stat().st_size} bytes")


def test_every_deviation_is_listed(cli, broken):
    done = cli("check", broken)
    assert (done.code, done.err) == (1, "")
    found = findings(done)
    assert {"dtype-unknown", "layout-hole"} <= {each[4] for each in found}
    assert all(each[0] == str(broken) for each in found)
    at = [each for each in found if each[4] == "dtype-unknown"][0]
    assert broken.read_bytes()[int(at[1]):].startswith(b'"Q9"')
    assert at[2] == "error" and '"a"' in at[3]
    errors = len([each for each in found if each[2] == "error"])
    assert done.lines[-1].startswith(f"{broken}: bad, {errors} errors, ")


def test_json(cli, broken, small, tmp_path):
    done = cli("check", "--json", broken, small, tmp_path / "absent")
    assert done.code == 3
    bad, good, absent = done.json["files"]
    text = cli("check", broken)
    assert [(str(each["offset"]), each["severity"], each["message"], each["rule"])
            for each in bad["findings"]] == [each[1:] for each in findings(text)]
    unknown = [each for each in bad["findings"] if each["rule"] == "dtype-unknown"][0]
    assert unknown["tensor"] == "a" and unknown["status"] == "ST_ERR_DTYPE_UNKNOWN"
    assert bad["good"] is False and good["good"] is True
    assert bad["errors"] == len([each for each in bad["findings"] if each["severity"] == "error"])
    assert (good["tensors"], good["metadata"], good["size"]) == (2, 1, small.stat().st_size)
    assert good["header_size"] + good["data_size"] + 8 == good["size"]
    assert absent["error"]["status"] == "ST_ERR_IO" and "good" not in absent


def test_upstream(cli, make):
    path = make(frame(TWICE, b"\1"))
    done = cli("check", path)
    assert done.code == 1
    assert [each[2] for each in findings(done) if each[4] == "name-duplicate"] == ["error"]
    done = cli("check", "--upstream", path)
    assert done.code == 0
    assert [each[2] for each in findings(done) if each[4] == "name-duplicate"] == ["warning"]
    assert cli("check", "--upstream", "--strict", path).code == 1
    done = cli("check", "--upstream", "--strict", "--json", path)
    assert (done.code, done.json["files"][0]["good"]) == (1, False)


def test_quiet(cli, broken, small):
    for path, code in ((broken, 1), (small, 0)):
        for options in ([], ["--json"]):
            done = cli("check", "-q", *options, path)
            assert (done.code, done.out, done.err) == (code, "", "")
    assert cli("check", "-q", small, broken).code == 1


def test_max(cli, make):
    entries = ",".join(f'"t{i}":{{"dtype":"Q","shape":[],"data_offsets":[0,0]}}'
                       for i in range(1500))
    path = make(frame("{" + entries + "}"))
    everything = cli("check", "--max", "1000000", path)
    total = len(everything.lines) - 1
    assert total >= 1500 and "more" not in everything.lines[-1]
    done = cli("check", path)
    assert len(done.lines) == 1001
    assert f", of which {total - 1000} more are not printed; " in done.lines[-1]
    done = cli("check", "-m0", path)
    assert (done.code, len(done.lines)) == (1, 1)
    done = cli("check", "-m", "7", "--json", path)
    assert len(done.json["files"][0]["findings"]) == 7
    assert done.json["files"][0]["omitted"] == total - 7


def test_rules(cli):
    done = cli("check", "--rules")
    rules = [line.split("\t") for line in done.lines]
    assert done.code == 0 and len(rules) > 20
    assert ["trailing-bytes", "error", "the file ends with the last tensor"] in rules
    assert {rule[1] for rule in rules} == {"error", "warning", "note"}
    assert all(re.fullmatch("[a-z0-9-]+", rule[0]) and len(rule) == 3 for rule in rules)
    listed = cli("check", "--rules", "--json").json["rules"]
    assert [[each["rule"], each["severity"], each["text"]] for each in listed] == rules
    assert {each["status"] for each in listed if each["severity"] != "error"} == {"ST_OK"}


def test_rules_on_a_terminal(terminal):
    done = terminal("check", "--rules", env={"NO_COLOR": "1"})
    assert "file-too-small      error    a file has at least 8 bytes" in done.lines


def test_terminal_colours_severities(terminal, broken):
    done = terminal("check", broken)
    assert done.code == 1
    assert "\x1b[1;31merror\x1b[0m: " in done.out and "\x1b[1;31mbad\x1b[0m" in done.out


@pytest.mark.parametrize("content, rule", [
    (b"", "file-too-small"), (b"1234567", "file-too-small"),
    (b"\xff" * 8, "header-too-large"), (b"\x50" + b"\0" * 7 + b"{}", "header-length"),
    (frame("{"), "json-syntax"), (frame("[]"), "header-type"),
    (frame(b'{"\xff":1}'), "header-utf8"),
    (frame('{"t":' + "[" * 200), "json-depth"), (frame(TWICE, b"\1"), "name-duplicate")])
def test_files_that_are_hardly_files(cli, make, content, rule):
    path = make(content)
    done = cli("check", path)
    assert (done.code, done.err) == (1, "")
    assert rule in [each[4] for each in findings(done)]
    assert cli("ls", path).code == 1
