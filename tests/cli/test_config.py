"""`edgeinfer config`, and what the file of settings does to the commands."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from installed import COMMAND
from pulling import edgeinfer
from serving import serve

from edgeinfer.hub.modelfile import parse
from edgeinfer.hub.store import own
from edgeinfer.loading import load

Run = Callable[..., "tuple[int, str, str]"]

COMMENTED = """\
# mine
threads = 2  # two are enough

[serve]  # the port
# not 8080: taken
port = 9000
"""


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of settings; it is there, and empty."""
    path = tmp_path / "config" / "config.toml"
    path.parent.mkdir()
    path.write_text("")
    monkeypatch.setenv("EDGEINFER_CONFIG", str(path))
    return path


def listed(run: Run, name: str) -> tuple[object, str]:
    """(value, where it is from)"""
    code, out, _ = run("config", "--json")
    assert code == 0
    row = json.loads(out)["settings"][name]
    return row["value"], row["from"]


def context(run: Run, model: Path, *options: str) -> int | None:
    """Most tokens of prompt and answer, as a prompt that is too long is told; None: it is not."""
    code, _, err = run("run", str(model), "the " * 200, "-n", "1", *options)
    assert code in (0, 2)
    return int(err.split("maximum context length is ")[1].split()[0]) if code else None


def test_a_flag_comes_before_the_environment_before_the_file_before_the_default(
    edgeinfer_command: Run, file: Path, random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("context_length = 64\n")
    assert context(edgeinfer_command, random_model) == 64
    monkeypatch.setenv("EDGEINFER_CONTEXT_LENGTH", "48")
    assert context(edgeinfer_command, random_model) == 48
    assert context(edgeinfer_command, random_model, "-c", "40") == 40
    monkeypatch.delenv("EDGEINFER_CONTEXT_LENGTH")
    file.write_text("")
    assert context(edgeinfer_command, random_model) is None


def test_every_setting_is_listed_with_its_value_and_where_that_is_from(
    edgeinfer_command: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('threads = 2\n[serve]\nkeep_alive = "5m"\nallow_host = ["a", "b"]\n')
    monkeypatch.setenv("EDGEINFER_SERVE_KEEP_ALIVE", "1h")
    assert listed(edgeinfer_command, "threads") == (2, "file")
    assert listed(edgeinfer_command, "serve.keep_alive") == ("1h", "environment")
    assert listed(edgeinfer_command, "serve.allow_host") == (["a", "b"], "file")
    assert listed(edgeinfer_command, "sampling.temperature") == (0.8, "default")
    assert listed(edgeinfer_command, "model") == (None, "default")
    code, out, err = edgeinfer_command("config")
    assert (code, str(file) in err) == (0, True)
    row = next(line.split() for line in out.splitlines() if "serve.allow_host" in line)
    assert row[:3] == ["serve.allow_host", "a,b", "file"]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("threads", "3", 3),
        ("model", "qwen3:4b", "qwen3:4b"),
        ("keep-headers", "true", True),
        ("keep_headers", "0", False),
        ("sampling.temperature", "0.25", 0.25),
        ("sampling.repeat_last_n", "-1", -1),
        ("sampling.seed", str(2**64 - 1), 2**64 - 1),
        ("serve.allow_host", "a, b", ["a", "b"]),
        ("serve.keep_alive", "-1", "-1"),
    ],
)
def test_what_is_set_is_got_and_can_be_unset(
    name: str, value: str, kept: object, edgeinfer_command: Run, file: Path
) -> None:
    file.write_text(COMMENTED)
    assert edgeinfer_command("config", "set", name, value)[0] == 0
    name = name.replace("-", "_")
    assert listed(edgeinfer_command, name) == (kept, "file")
    got = edgeinfer_command("config", "get", name)[1].rstrip("\n")
    assert edgeinfer_command("config", "set", name, got)[0] == 0
    assert edgeinfer_command("config", "get", name)[1].rstrip("\n") == got
    assert edgeinfer_command("config", "unset", name)[0] == 0
    assert listed(edgeinfer_command, name)[1] == "default"
    assert edgeinfer_command("config", "unset", name)[0] == 2


def test_comments_order_and_other_values_stay(edgeinfer_command: Run, file: Path) -> None:
    file.write_text(COMMENTED)
    file.chmod(0o600)
    assert edgeinfer_command("config", "set", "serve.port", "9001")[0] == 0
    assert file.read_text() == COMMENTED.replace("9000", "9001")
    assert edgeinfer_command("config", "set", "model", "m")[0] == 0
    assert edgeinfer_command("config", "set", "sampling.top_k", "1")[0] == 0
    lines = file.read_text().splitlines()
    assert [line for line in COMMENTED.splitlines() if line.replace("9000", "9001") not in lines] == []
    assert tomllib.loads(file.read_text()) == {
        "threads": 2,
        "model": "m",
        "serve": {"port": 9001},
        "sampling": {"top_k": 1},
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "serve.port = 1 # p\nsampling.top_k = 2\n",
        "serve = {port = 1}\n",
        "[serve]\r\nport = 1\r\n",
        "[sampling]\n[serve]\nport = 1",
    ],
)
def test_every_way_to_write_a_table_can_be_changed(text: str, edgeinfer_command: Run, file: Path) -> None:
    file.write_bytes(text.encode())
    before = tomllib.loads(text)
    for name, value in (("serve.port", "2"), ("serve.max_queue", "3"), ("threads", "4")):
        assert edgeinfer_command("config", "set", name, value)[0] == 0
    serve = {"port": 2, "max_queue": 3}
    assert tomllib.loads(file.read_text()) == {**before, "threads": 4, "serve": serve}


def test_the_file_is_made_where_there_is_none(
    edgeinfer_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEINFER_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert edgeinfer_command("config", "set", "threads", "3")[0] == 0
    path = Path(edgeinfer_command("config", "path")[1].strip())
    assert path.is_relative_to(tmp_path)
    assert tomllib.loads(path.read_text()) == {"threads": 3}


def test_a_link_to_the_file_stays_one(edgeinfer_command: Run, file: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "dotfiles.toml"
    theirs.write_text("threads = 1\n")
    file.unlink()
    file.symlink_to(theirs)
    assert edgeinfer_command("config", "set", "threads", "2")[0] == 0
    assert file.is_symlink()
    assert theirs.read_text() == "threads = 2\n"


def test_a_loop_of_links_is_told_and_a_mark_of_windows_is_none(
    edgeinfer_command: Run, file: Path, tmp_path: Path
) -> None:
    file.write_bytes(b"\xef\xbb\xbfthreads = 2\n")
    assert edgeinfer_command("config", "get", "threads")[1] == "2\n"
    assert edgeinfer_command("config", "set", "threads", "3")[0] == 0
    assert file.read_text() == "threads = 3\n"
    file.unlink()
    file.symlink_to(file)
    code, _, err = edgeinfer_command("config", "set", "threads", "3")
    assert (code, err) == (6, f"error: {file} is no file\n")


def test_of_many_changes_at_once_none_is_lost(file: Path) -> None:
    names = ["threads", "context_length", "serve.port", "serve.max_queue", "sampling.top_k", "sampling.seed"]
    running = [subprocess.Popen([*COMMAND, "config", "set", name, "7"], stderr=-1) for name in names]
    for process in running:
        process.communicate(timeout=60)
    assert [process.returncode for process in running] == [0] * len(names)
    serve, sampling = {"port": 7, "max_queue": 7}, {"top_k": 7, "seed": 7}
    assert tomllib.loads(file.read_text()) == {
        "threads": 7,
        "context_length": 7,
        "serve": serve,
        "sampling": sampling,
    }


BROKEN = {
    "a line": (b"threads = 2\nport 9000\n", "line 2"),
    "a quote": (b'model = "qwen', "unterminated"),
    "twice": (b"threads = 1\nthreads = 2\n", "line 2"),
    "no text": (b"model = '\xff'\n", "byte 9"),
    "nested": (b"model = " + b"[" * 10_000, "nested"),
    "long number": (b"threads = " + b"9" * 5000 + b"\n", "digits"),
    "large": (b"#" * (1 << 20), "larger"),
}
WRONG = {
    "unknown": ("trheads = 2\n", "trheads is not a setting", "threads"),
    "without its section": ("port = 2\n", "port is not a setting", "serve.port"),
    "in a section": ("[serve]\nprot = 2\n", "serve.prot is not a setting", "serve.port"),
    "another section": ("[server]\nport = 2\n", "server is not a setting", ""),
    "no section": ("serve = 2\n", "serve is a section", "serve.port"),
    "tables": ("[[serve]]\nport = 2\n", "serve is a section", "serve.port"),
    "type": ('threads = "2"\n', "threads must be an integer from 1", ""),
    "switch": ("threads = true\n", "threads must be an integer from 1", ""),
    "range": ("[serve]\nport = 65536\n", "serve.port must be an integer from 0 to 65535, not 65536", ""),
    "fraction": ("[sampling]\ntop_k = 2.0\n", "sampling.top_k must be an integer", ""),
    "nan": ("[sampling]\ntemperature = nan\n", "sampling.temperature must be a number", ""),
    "date": ("model = 2026-01-01\n", "model must be the name", ""),
    "empty": ("model = ' '\n", "model must be the name", ""),
    "escape": ('model = "a\\u001b[2J"\n', "model must be the name", ""),
    "deeper": ("[serve.port]\nx = 1\n", "serve.port must be an integer", ""),
    "much deeper": (f"threads{'.a' * 2000} = 1\n", "threads must be an integer", ""),
    "thousands of digits": (f"threads = 0x{'f' * 6000}\n", "threads must be an integer", ""),
    "relative": ("[serve]\nssl_certfile = 'c.pem'\n", "serve.ssl_certfile must be an absolute path", ""),
    "duration": ("[serve]\nkeep_alive = 'soon'\n", "serve.keep_alive must be a duration", ""),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_told_by_every_command_and_never_changed(
    case: str, edgeinfer_command: Run, file: Path
) -> None:
    content, told = BROKEN[case]
    file.write_bytes(content)
    for line in (("run", "hi"), ("list",), ("config", "set", "threads", "2"), ("config", "get", "threads")):
        code, _, err = edgeinfer_command(*line)
        assert (code, str(file) in err, told in err) == (2, True, True), err
        assert "internal error" not in err
    code, out, err = edgeinfer_command("config")
    assert (code, "serve.port" in out, told in err) == (2, True, True)
    assert edgeinfer_command("run", "--help")[0] == 0
    assert file.read_bytes() == content


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_told_with_what_would_be_right(
    case: str, edgeinfer_command: Run, file: Path
) -> None:
    text, told, near = WRONG[case]
    file.write_text(text)
    code, _, err = edgeinfer_command("run", "hi")
    assert (code, f"{file}: {told}" in err, near in err) == (2, True, True), err
    assert "\x1b" not in err
    code, out, _ = edgeinfer_command("config", "--json")
    assert (code, len(json.loads(out)["problems"])) == (2, 1)


def test_all_that_is_wrong_is_listed_and_can_be_taken_out(edgeinfer_command: Run, file: Path) -> None:
    file.write_text("trheads = 1\nthreads = 2\n[server]\nport = 1\n[serve]\nprot = 1\n")
    code, out, _ = edgeinfer_command("config", "--json")
    report = json.loads(out)
    assert (code, len(report["problems"])) == (2, 3)
    assert report["settings"]["threads"]["value"] == 2
    many = "".join(f"k{i} = 1\n" for i in range(5000))
    file.write_text(f"{many}{file.read_text()}")
    assert edgeinfer_command("config")[2].count("is not a setting") == 20
    file.write_text(file.read_text().removeprefix(many))
    for name in ("trheads", "server", "serve.prot"):
        assert edgeinfer_command("config", "unset", name)[0] == 0
    assert edgeinfer_command("config", "get", "threads")[:2] == (0, "2\n")


def test_a_value_that_may_be_a_key_is_not_told(edgeinfer_command: Run, file: Path) -> None:
    file.write_text('api_key = "sk-secret"\n[serve]\napi_key_file = ["sk-secret"]\n')
    for line in (("config",), ("config", "--json"), ("serve",)):
        code, out, err = edgeinfer_command(*line)
        assert (code, "sk-secret" in out + err) == (2, False)


@pytest.mark.parametrize("line", [("set", "threads", "none"), ("set", "serve.prot", "1"), ("get", "serve")])
def test_what_cannot_be_set_is_refused(line: tuple[str, ...], edgeinfer_command: Run, file: Path) -> None:
    code, _, err = edgeinfer_command("config", *line)
    assert (code, file.read_text()) == (2, "")
    assert "threads must be" in err or "did you mean serve.port?" in err or "serve.host" in err


def test_a_file_that_cannot_be_read_or_written_is_told(
    edgeinfer_command: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (tmp_path, pipe, tmp_path / "missing.toml", file / "below"):
        monkeypatch.setenv("EDGEINFER_CONFIG", str(place))
        code, _, err = edgeinfer_command("run", "hi")
        assert (code, str(place) in err, "internal" in err) == (6, True, False), err
    for place in (tmp_path, pipe, file / "below"):
        monkeypatch.setenv("EDGEINFER_CONFIG", str(place))
        code, _, err = edgeinfer_command("config", "set", "threads", "1")
        assert (code, "internal" in err) == (6, False), err
    assert pipe.is_fifo()


def test_the_model_that_is_set_answers_where_none_is_named(
    edgeinfer_command: Run, file: Path, random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(random_model.parent)
    assert edgeinfer_command("config", "set", "model", random_model.name)[0] == 0
    monkeypatch.chdir("/")
    _, out, _ = edgeinfer_command("run", "hello there", "--json", "-n", "1")
    assert json.loads(out)["model"] == "random"
    _, out, _ = edgeinfer_command("run", "-m", "edgeinfer-tiny", "hello there", "--json", "-n", "1")
    assert json.loads(out)["model"] == "edgeinfer-tiny"
    _, _, err = edgeinfer_command("chat", "--plain", stdin="/bye\n")
    assert err.startswith("random,")
    monkeypatch.setenv("EDGEINFER_MODEL", "edgeinfer-tiny")
    _, _, err = edgeinfer_command("chat", "--plain", stdin="/bye\n")
    assert err.startswith("edgeinfer-tiny,")


def test_serve_takes_its_options_from_the_file(file: Path, random_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keys = file.parent / "keys"
    keys.write_text("secret ann\n")
    file.write_text(
        f'model = "{random_model}"\ncontext_length = 64\n'
        f'[serve]\nport = {port}\napi_key_file = "{keys}"\nlog_level = "warning"\n'
    )
    with subprocess.Popen([*COMMAND, "serve"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        refused, answered = edgeinfer("ps", "--json"), edgeinfer("ps", "--json", EDGEINFER_API_KEY="secret")
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert told.startswith("random on ")
    assert (refused.returncode, answered.returncode) == (5, 0)


def test_offline_in_the_file_makes_connections_impossible(edgeinfer_command: Run, file: Path) -> None:
    file.write_text("offline = true\n")
    done = edgeinfer("pull", "user/repo")
    assert (done.returncode, "offline" in done.stderr) == (5, True)


def test_doctor_tells_of_the_file(file: Path) -> None:
    file.write_text("threads = 2\n")
    done = edgeinfer("doctor", "--json")
    assert json.loads(done.stdout)["config file"] == {"value": f"{file}, sets 1", "advice": None}
    file.write_text("threads = \n")
    done = edgeinfer("doctor", "--json")
    found = json.loads(done.stdout)
    assert "line 1" in found["config file"]["advice"]
    assert found["network"]["value"].startswith("not known")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("edgeinfer config set serve.ho", {"serve.host"}),
        ("edgeinfer config set kv_type q", {"q8_0"}),
        ("edgeinfer config get offl", {"offline"}),
        ("edgeinfer run --kv-type i", {"iq4_nl"}),
    ],
)
def test_shells_complete_settings_and_values(line: str, offered: set[str], file: Path) -> None:
    file.write_text("broken")
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = edgeinfer(**words, _EDGEINFER_COMPLETE="bash_complete")
    assert {row.removeprefix("plain,") for row in done.stdout.split()} == offered


def test_parameters_of_the_file_stand_behind_those_of_a_model_and_before_the_engines(
    edgeinfer_command: Run,
    file: Path,
    random_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen by how long an answer is, and in the list of a conversation."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    own.create("told", parse(f"FROM {random_model}\nPARAMETER num_predict 3\n".encode(), "Modelfile"))

    def n_tokens(model: object, *options: str) -> int:
        line = ("run", "-m", str(model), "hello", "--json", "--temperature", "0", *options)
        code, out, err = edgeinfer_command(*line)
        assert code == 0, err
        return int(json.loads(out)["completion_tokens"])

    file.write_text("[sampling]\nmax_tokens = 2\ntop_k = 7\n")
    assert n_tokens(random_model) == 2
    assert n_tokens("told") == 3
    _, _, err = edgeinfer_command("chat", "told", "--plain", stdin="/set\n/bye\n")
    assert ("  max_tokens 3\n" in err, "  top_k 7\n" in err, "  top_p 0.95\n" in err) == (True, True, True)
    monkeypatch.setenv("EDGEINFER_SAMPLING_MAX_TOKENS", "4")
    assert n_tokens("told") == 4
    assert n_tokens("told", "-n", "5") == 5


def test_parameters_of_the_file_hold_on_the_port(file: Path, random_model: Path) -> None:
    file.write_text("[sampling]\nmax_tokens = 2\ntemperature = 0\n")
    with serve(random_model) as served, served.client() as client:
        assert n_answered(client, "random") == 2
        assert n_answered(client, "random", max_tokens=3) == 3


def test_a_context_for_all_models_is_no_longer_than_the_model_has(
    edgeinfer_command: Run, file: Path, random_model: Path
) -> None:
    file.write_text("context_length = 1000000\n")
    assert context(edgeinfer_command, random_model) is None
    code, out, err = edgeinfer_command("fit", str(random_model), "--json")
    assert code == 0, err
    with load(random_model) as model:
        assert json.loads(out)["context"] == model.context_length
    assert edgeinfer_command("run", str(random_model), "hi", "-c", "1000000")[0] == 2


def n_answered(client: openai.OpenAI, model: str, **options: Any) -> int:
    """Tokens of an answer."""
    asked = [{"role": "user", "content": "hello"}]
    answer = client.chat.completions.create(model=model, messages=asked, **options)
    return int(answer.usage.completion_tokens)


def test_a_file_that_only_an_editor_can_change_is_left_as_it_is(edgeinfer_command: Run, file: Path) -> None:
    text = f"threads{'.a' * 2000} = 1\n"
    file.write_text(text)
    code, _, err = edgeinfer_command("config", "set", "serve.port", "1")
    assert (code, "only an editor" in err, file.read_text()) == (2, True, text)
