"""Models that `edgeinfer create` makes: through the command line, Python and the port."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import chatting
import ollama
import openai
import pytest
from serving import Served, eventually
from stores import in_ollama

import edgeinfer
from edgeinfer.errors import NotFound
from edgeinfer.hub.located import Located
from edgeinfer.hub.names import find_model
from edgeinfer.hub.store import local_models
from edgeinfer.loading import plan
from edgeinfer.server.entry import Entry
from edgeinfer.server.guard import Rules
from edgeinfer.server.models import Models
from edgeinfer.server.pool import Pool
from edgeinfer.text.safe import safe_text

Run = Callable[..., Any]

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
PIRATE = f"""
FROM ./base.gguf
PARAMETER temperature 1.5
PARAMETER seed 7
PARAMETER num_predict 6
PARAMETER num_ctx 384
SYSTEM Talk like a pirate.
MESSAGE user hi
MESSAGE assistant "Arr."
TEMPLATE {TEMPLATE}
LICENSE MIT
"""
SYSTEM = {"role": "system", "content": "Talk like a pirate."}
SHOWN = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Arr."}]
ASKED: dict[str, Any] = {"role": "user", "content": "a word"}
PROMPT = "[system]Talk like a pirate.[user]hi[assistant]Arr.[user]a word[assistant]"


@pytest.fixture
def folder(tmp_path: Path, random_model: Path) -> Path:
    """Of a Modelfile and what it builds on."""
    (tmp_path / "base.gguf").symlink_to(random_model)
    (tmp_path / "Modelfile").write_text(PIRATE)
    return tmp_path


@pytest.fixture
def pirate(folder: Path, edgeinfer_command: Run) -> Path:
    done = edgeinfer_command("create", "pirate", "-f", str(folder / "Modelfile"))
    assert (done.code, done.out) == (0, f"pirate is created from {folder / 'base.gguf'}\n")
    return folder


@pytest.fixture
def expected(random_model: Path) -> str:
    """What the pirate answers."""
    with edgeinfer.load(random_model, context_length=384) as plain:
        ids = plain.tokenizer.encode(PROMPT, add_special=False, parse_special=True)
        bos = [plain.tokenizer.bos_id] if plain.tokenizer.add_bos else []
        return "".join(t.text for t in plain.generate([*bos, *ids], temperature=1.5, seed=7, max_tokens=6))


def test_every_door_has_what_it_was_told(pirate: Path, expected: str, edgeinfer_command: Run) -> None:
    with edgeinfer.load("pirate") as model:
        assert model.prompts.chat_text([ASKED]) == PROMPT
        assert "".join(token.text for token in model.chat([ASKED])) == expected
        assert model.context_length == 384
    assert edgeinfer_command("run", "pirate", "a word").out.rstrip("\n") == safe_text(expected).rstrip("\n")
    talked = edgeinfer_command("chat", "pirate", "--plain", stdin="a word\n/system\n/set\n")
    assert safe_text(expected) in talked.out
    assert "Talk like a pirate." in talked.err
    assert "  temperature 1.5\n" in talked.err
    line = {
        "custom_id": "1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"messages": [ASKED], "seed": 7},
    }
    (pirate / "in.jsonl").write_text(json.dumps(line))
    edgeinfer_command("batch", str(pirate / "in.jsonl"), "-o", str(pirate / "out.jsonl"), "-m", "pirate")
    answer = json.loads((pirate / "out.jsonl").read_text())["response"]["body"]
    assert answer["choices"][0]["message"]["content"] == expected


def test_the_chat_has_what_it_was_told_and_shows_it(pirate: Path, expected: str) -> None:
    async def scenario() -> None:
        async with chatting.chat(pirate, name="pirate", generation={}) as (app, pilot, _):
            assert await chatting.say(app, pilot, ASKED["content"]) == expected
            await pilot.press("f4")
            await chatting.until(pilot, lambda: "Talk like a pirate." in chatting.shown(app))
            assert "1.5" in chatting.shown(app)

    asyncio.run(scenario())


def test_it_is_listed_shown_copied_and_removed(
    pirate: Path, random_model: Path, edgeinfer_command: Run
) -> None:
    [listed] = json.loads(edgeinfer_command("list", "--json").out)
    assert (listed["name"], listed["store"], listed["path"]) == (
        "pirate",
        "edgeinfer",
        str(pirate / "base.gguf"),
    )
    shown = edgeinfer_command("show", "pirate").out
    assert all(text in shown for text in ("Talk like a pirate.", "num_ctx 384", "Arr.", "MIT"))
    assert edgeinfer_command("show", "pirate", "--template").out == f"{TEMPLATE}\n"
    told = edgeinfer_command("show", "pirate", "--modelfile").out
    assert edgeinfer_command("create", "again", "-f", "-", stdin=told).code == 0
    assert edgeinfer_command("cp", "pirate", "other").code == 0
    for name in ("again", "other"):
        assert edgeinfer_command("show", name, "--modelfile").out == told
    assert edgeinfer_command("rm", "pirate", "again", "other").out.count("0 B freed") == 3
    assert local_models() == []
    assert random_model.is_file()
    assert edgeinfer_command("show", str(random_model), "--modelfile").out == f"FROM {random_model}\n"


def test_the_same_name_again_replaces_it_and_nothing_else(
    pirate: Path, random_model: Path, edgeinfer_command: Run
) -> None:
    (pirate / "Modelfile").write_text(
        "FROM pirate\nPARAMETER seed 9\nSYSTEM Be silent."
    )  # on itself, as it was
    assert edgeinfer_command("create", "pirate", "-f", str(pirate / "Modelfile")).code == 0
    with edgeinfer.load("pirate") as model:
        assert (model.defaults.system, dict(model.defaults.options)["seed"]) == ("Be silent.", 9)
        assert (model.context_length, model.template.source) == (384, TEMPLATE)
    edgeinfer_command("import", str(random_model), "--name", "taken")
    for name in (
        "taken",
        "Pirate",
        "edgeinfer-tiny",
        "../../evil",
        "/etc/evil",
        "a/../b",
        "x.gguf",
        "",
        "a b",
    ):
        refused = edgeinfer_command("create", name, "-f", str(pirate / "Modelfile"))
        assert refused.code == 2, name
    assert edgeinfer_command("cp", "taken", "pirate").code == 2
    assert sorted(model.name for model in local_models()) == ["pirate", "taken"]


def test_what_it_builds_on_may_be_called_by_any_name(
    home: Path, random_model: Path, tmp_path: Path, edgeinfer_command: Run
) -> None:
    blob = in_ollama(
        home, "llama3", random_model, told={"system": "Ollama's", "params": {"stop": ["x"], "seed": 1}}
    )
    told = "FROM llama3:latest\nPARAMETER temperature 0.5"
    assert edgeinfer_command("create", "mine", "-f", "-", stdin=told).code == 0
    assert find_model("mine") == blob
    lines = ["PARAMETER stop x", "PARAMETER seed 1", "PARAMETER temperature 0.5", "SYSTEM Ollama's"]
    assert edgeinfer_command("show", "mine", "--modelfile").out.splitlines() == [f"FROM {blob}", *lines]
    missing = edgeinfer_command("create", "other", "-f", "-", stdin="FROM qwen3:4b")
    assert (missing.code, "`edgeinfer pull qwen3:4b` fetches it" in missing.err) == (9, True)


def test_a_created_model_whose_file_is_gone_says_so(
    pirate: Path, random_model: Path, edgeinfer_command: Run
) -> None:
    (pirate / "base.gguf").unlink()
    assert local_models() == []
    with pytest.raises(NotFound, match=r"file that pirate was created from is gone.*base.gguf") as gone:
        edgeinfer.load("pirate")
    assert "edgeinfer rm pirate" in str(gone.value.hint)
    assert "is gone" in edgeinfer_command("run", "pirate", "hello").err
    assert edgeinfer_command("import", str(random_model), "--name", "pirate").code == 2  # it is not forgotten
    shutil.copy(random_model, pirate / "base.gguf")
    assert find_model("pirate") == pirate / "base.gguf"
    (pirate / "base.gguf").unlink()
    assert edgeinfer_command("rm", "pirate").code == 0
    with pytest.raises(NotFound, match="no model is called 'pirate'"):
        find_model("pirate")


def test_what_is_no_modelfile_or_no_model_is_refused(
    folder: Path, home: Path, random_model: Path, edgeinfer_command: Run
) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "text.gguf").write_text("no model")
    for told, code, message in (
        ("FROM ./missing.gguf", 9, "no model is called './missing.gguf'"),
        (f"FROM {folder}", 9, "is a folder"),
        (f"FROM {folder / 'loop'}", 9, "no model is called"),
        (f"FROM {folder / 'text.gguf'}", 3, "text.gguf"),
        ("FROM other", 9, "no model is called 'other'"),
        ("FROM edgeinfer-tiny\nPARAMETER mirostat 1", 2, "standard input, line 2"),
        ("FROM edgeinfer-tiny\nTEMPLATE {% for m in messages %}", 2, "the chat template fails"),
    ):
        refused = edgeinfer_command("create", "other", "-f", "-", stdin=told)
        assert (refused.code, message in refused.err) == (code, True), refused.err
    for file, code in (
        (random_model, 2),
        (folder / "loop", 6),
        (folder, 6),
        (folder / "none", 9),
        ("/dev/zero", 2),
    ):
        assert edgeinfer_command("create", "other", "-f", str(file)).code == code, file
    assert local_models() == []
    assert not list(home.rglob("*.modelfile"))


def test_what_changes_no_answer_is_told_and_passed_over(edgeinfer_command: Run) -> None:
    told = "FROM edgeinfer-tiny\nPARAMETER num_gpu 99\nPARAMETER use_mmap false"
    done = edgeinfer_command("create", "mine", "-f", "-", stdin=told)
    assert done.code == 0
    assert [line.split()[0] for line in done.err.splitlines()] == ["num_gpu", "use_mmap"]


def test_what_ollama_shows_is_taken_for_a_file_with_a_template(
    random_model: Path, tmp_path: Path, edgeinfer_command: Run
) -> None:
    shown = (
        "# Modelfile generated by ollama\nFROM {}\nTEMPLATE {{{{ .Prompt }}}}\nPARAMETER stop x\nPARSER qwen3"
    )
    done = edgeinfer_command("create", "mine", "-f", "-", stdin=shown.format(random_model))
    assert (done.code, [line.split()[0] for line in done.err.splitlines()]) == (0, ["TEMPLATE", "PARSER"])
    bare = tmp_path / "bare.gguf"
    bare.write_bytes(
        random_model.read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_nothing!")
    )
    refused = edgeinfer_command("create", "other", "-f", "-", stdin=shown.format(bare))
    assert (refused.code, "has no chat template" in refused.err) == (2, True)


def test_no_limit_is_shown_as_none(edgeinfer_command: Run) -> None:
    told = "FROM edgeinfer-tiny\nPARAMETER num_predict -1"
    assert edgeinfer_command("create", "endless", "-f", "-", stdin=told).code == 0
    talked = edgeinfer_command("chat", "endless", "--plain", stdin="/set\n")
    assert "  max_tokens not set\n" in talked.err


def test_a_context_that_is_too_long_is_as_long_as_the_model_has(edgeinfer_command: Run) -> None:
    done = edgeinfer_command(
        "create", "long", "-f", "-", stdin="FROM edgeinfer-tiny\nPARAMETER num_ctx 999999"
    )
    assert (done.code, done.err) == (0, "the model has 1024 tokens of context, less than num_ctx 999999\n")
    with edgeinfer.load("long") as model:
        assert model.context_length == 1024


def test_what_fits_is_reckoned_with_its_context(pirate: Path, edgeinfer_command: Run) -> None:
    assert json.loads(edgeinfer_command("fit", "pirate", "--json").out)["context"] == 384


def test_a_damaged_one_hides_no_other(pirate: Path, home: Path, edgeinfer_command: Run) -> None:
    edgeinfer_command("create", "second", "-f", str(pirate / "Modelfile"))
    [kept] = home.rglob("pirate.modelfile")
    kept.write_bytes(b"FROM\0")
    os.symlink("loop.modelfile", kept.parent / "loop.modelfile")
    assert [model.name for model in local_models()] == ["second"]
    refused = edgeinfer_command("run", "pirate", "hello")
    assert (refused.code, "is no text" in refused.err) == (2, True)
    assert edgeinfer_command("rm", "pirate").code == 0


@pytest.fixture
def served(pirate: Path, random_model: Path) -> Iterator[Served]:
    """A server that finds the pirate by its name; the model that it builds on is another one."""
    base = Entry("base", Located(random_model, "base"))
    pool = Pool(edgeinfer.load, partial(plan))
    with Models([base], pool) as models, Served(models, Rules()) as server:
        yield server


@pytest.fixture
def client(served: Served) -> Iterator[ollama.Client]:
    with ollama.Client(f"http://127.0.0.1:{served.port}") as opened:
        yield opened


def test_ollamas_clients_get_its_answers(client: ollama.Client, expected: str, random_model: Path) -> None:
    answer = client.chat("pirate", [ASKED])
    assert (answer.message.content, answer.eval_count) == (expected, 6)
    assert client.generate("pirate:latest", ASKED["content"]).response == expected
    longer: Any = {"num_predict": -1, "num_ctx": 120, "temperature": 0.5, "seed": 2}
    own = [{"role": "system", "content": "Be silent."}, ASKED]
    with edgeinfer.load(random_model, context_length=384) as plain:
        text = "[system]Be silent.[user]hi[assistant]Arr.[user]a word[assistant]"
        ids = plain.tokenizer.encode(text, add_special=False, parse_special=True)
        bos = [plain.tokenizer.bos_id] if plain.tokenizer.add_bos else []
        said = plain.generate([*bos, *ids], temperature=0.5, seed=2, most_context=120)
        assert client.chat("pirate", own, options=longer).message.content == "".join(t.text for t in said)


def test_ollamas_clients_are_shown_what_it_was_told(
    client: ollama.Client, home: Path, random_model: Path
) -> None:
    shown = client.show("pirate")
    assert (shown.template, shown.license) == (TEMPLATE, "MIT")
    assert sorted((shown.parameters or "").splitlines()) == [
        "num_ctx 384",
        "num_predict 6",
        "seed 7",
        "temperature 1.5",
    ]
    assert "FROM pirate\n" in (shown.modelfile or "")
    assert "SYSTEM Talk like a pirate.\n" in (shown.modelfile or "")
    assert "base.gguf" not in str(shown)
    assert {"base", "pirate"} <= {model.model for model in client.list().models}
    in_ollama(
        home, "odd", random_model, told={"system": 'no Modelfile says"""\nthis', "params": {"stop": ["a b"]}}
    )
    odd = client.show("odd")
    assert (odd.modelfile, 'stop "a b"' in (odd.parameters or "")) == ("", True)


def test_other_clients_get_its_answers(served: Served, expected: str) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key="any") as other:
        assert (
            other.chat.completions.create(model="pirate", messages=[ASKED]).choices[0].message.content
            == expected
        )
        assert other.responses.create(model="pirate", input="a word").output_text == expected
        usage = other.completions.create(model="pirate", prompt="one of").usage
        assert usage is not None
        assert usage.completion_tokens <= 6  # not the dialect's 16
    body = {"model": "pirate", "messages": [ASKED], "max_tokens": 6}
    _, answer = served.post(json.dumps(body).encode(), "/v1/messages")
    assert answer["content"][0]["text"] == expected
    _, answer = served.post(json.dumps({"model": "pirate", "prompt": PROMPT}).encode(), "/completion")
    assert answer["content"] == expected
    assert answer["generation_settings"]["seed"] == 7


def test_ollamas_clients_create_copy_and_delete(client: ollama.Client, expected: str, home: Path) -> None:
    told: dict[str, Any] = {"parameters": {"stop": ["xyz", "y"]}, "license": ["MIT", "mine"]}
    assert client.create("mine", from_="pirate", messages=SHOWN, **told).status == "success"
    *_, last = client.create("mine:latest", from_="pirate", stream=True, **told)
    assert last.status == "success"
    assert "stop xyz\nPARAMETER stop y" in (client.show("mine").modelfile or "")
    client.copy("mine", "yours")
    assert {"mine", "yours"} <= {model.model for model in client.list().models}
    for name in ("mine", "yours"):
        answer = client.chat(name, [ASKED])
        assert (answer.model, answer.message.content) == (name, expected.partition("y")[0])
    for name in ("mine", "yours"):
        client.delete(name)
    with pytest.raises(ollama.ResponseError, match="no model is called"):
        client.show("yours")
    assert [path.name for path in home.rglob("*.modelfile")] == ["pirate.modelfile"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": "../x"}, "cannot be the name"),
    ({"model": "edgeinfer-tiny"}, "bundled"),
    ({"from_": "pirate.gguf.gguf"}, "no model is called"),
    ({"template": "{{ .Prompt }}"}, "Go template"),
    ({"parameters": {"mirostat": 1}}, "no mirostat"),
    ({"parameters": {"temperature": "hot"}}, "temperature must be a number"),
    ({"parameters": {"top\nSYSTEM x": 1}}, "is not a parameter"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "no role"),
    ({"messages": [{"role": "user", "content": "x"}] * 2000}, "more than 2,000 instructions"),
    ({"system": "a\0b"}, "cannot say"),
    ({"system": 'a"""\nb'}, "nothing is escaped"),
]


def test_what_a_client_cannot_create_is_refused(client: ollama.Client, home: Path) -> None:
    for asked, message in WRONG:
        with pytest.raises(ollama.ResponseError, match=message) as refused:
            client.create(**{"model": "mine", "from_": "pirate", **asked})
        assert refused.value.status_code in (400, 404)
    with pytest.raises(ollama.ResponseError, match="no model that was created"):
        client.delete("base")
    assert [path.name for path in home.rglob("*.modelfile")] == ["pirate.modelfile"]


def test_what_its_base_has_saved_is_found(
    home: Path, random_model: Path, edgeinfer_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEINFER_KV_DISK_BYTES", str(1 << 30))
    told = f"FROM {random_model}\nSYSTEM {'word ' * 150}"
    assert edgeinfer_command("create", "wordy", "-f", "-", stdin=told).code == 0
    said = [{"role": "system", "content": ("word " * 150).strip()}, ASKED]
    with edgeinfer.load(random_model, context_length=512) as base:
        list(base.chat(said, max_tokens=2))
    with edgeinfer.load("wordy", context_length=512) as created:
        stream = created.chat([ASKED], max_tokens=2)
        list(stream)
    assert stream.usage.n_cached >= 256


def test_models_of_the_same_weights_have_one_engine(
    served: Served, client: ollama.Client, edgeinfer_command: Run
) -> None:
    for name, temperature in (("wild", 1.5), ("tame", 0)):
        told = f"FROM pirate\nPARAMETER temperature {temperature}"
        assert edgeinfer_command("create", name, "-f", "-", stdin=told).code == 0
    alone = client.chat("tame", [ASKED]).message.content
    client.generate("tame", keep_alive=0)
    with openai.OpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key="any") as other:

        def n_cached(name: str) -> int:
            usage = other.chat.completions.create(model=name, messages=[ASKED]).usage
            assert usage is not None
            assert usage.prompt_tokens_details is not None
            return usage.prompt_tokens_details.cached_tokens or 0

        assert n_cached("wild") == 0
        assert n_cached("tame") > 0  # what the other one has computed
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics", timeout=30) as response:
        assert response.read().count(b"edgeinfer_steps_total{") == 1
    client.generate("wild", keep_alive=0)
    eventually(lambda: [model.model for model in client.ps().models] == ["tame"])
    assert client.chat("tame", [ASKED]).message.content == alone


def test_what_is_set_holds_for_the_second_of_the_same_weights(
    client: ollama.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create("second", from_="pirate", parameters={"seed": 1})
    monkeypatch.setenv("EDGEINFER_SAMPLING_MAX_TOKENS", "2")
    assert [client.chat(name, [ASKED]).eval_count for name in ("pirate", "second")] == [2, 2]


def test_a_server_sees_that_it_was_created_anew(
    client: ollama.Client, pirate: Path, edgeinfer_command: Run
) -> None:
    assert client.chat("pirate", [ASKED]).eval_count == 6
    assert (
        edgeinfer_command("create", "pirate", "-f", "-", stdin="FROM pirate\nPARAMETER num_predict 3").code
        == 0
    )
    assert client.chat("pirate", [ASKED]).eval_count == 3
