"""What a model will take: known from its header alone, true when it runs, and told before a pull."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from fake_hub import REPO, FakeHub, Fault
from gguf_writer import I32, STRING, Gguf, Tensor, array, entry, number, string, text
from pulling import NAME, edgeinfer

from edgeinfer import machine
from edgeinfer.errors import BadModelFile, EdgeInferError, NetworkError
from edgeinfer.hub.fit import Fit, Use, fit_model, fit_plan
from edgeinfer.hub.pull import plan_pull
from edgeinfer.machine import Memory

Run = Callable[..., "tuple[int, str, str]"]
Q8_0, F32 = 8, 0


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with 30 MiB of memory left."""
    monkeypatch.setattr(machine, "memory", lambda: Memory(1 << 30, 30 << 20))


def figures(fit: Fit) -> Fit:
    """Without what differs between a file that is here and one that is not."""
    return replace(fit, name="", sizes={}, memory=Memory(0, 0))


@pytest.mark.parametrize("case", ["llama", "llama3-rope", "phi3", "gemma3", "qwen3moe"])
def test_the_header_alone_gives_the_figures_of_the_file(hub: FakeHub, case: str, tmp_path: Path) -> None:
    if case not in tiny.CASES:
        case = next(name for name in tiny.CASES if tiny.CASES[name].rope_tensors)
    path = tiny.write_gguf(tmp_path / "model-Q8_0.gguf", case, "Q8_0")
    hub.repositories[REPO] = {path.name: path.read_bytes()}
    for use in (Use(), Use(100, 3, "q8_0")):
        assert figures(fit_model(NAME, use)) == figures(fit_model(str(path), use))
    assert hub.fetched == []


def test_shards_have_a_header_each(hub: FakeHub, random_shards: list[Path]) -> None:
    hub.repositories[REPO] = {path.name: path.read_bytes() for path in random_shards}
    assert figures(fit_model(NAME, Use())) == figures(fit_model(str(random_shards[0]), Use()))


def test_without_a_network_the_catalog_is_asked() -> None:
    report = json.loads(edgeinfer("--offline", "fit", "smollm3", "--json", "-c", "1000").stdout)
    assert (report["is_estimate"], report["context"]) == (True, 1000)
    assert report["bytes"]["weights"] == 1_915_305_312
    assert "note: the hub cannot be asked" in edgeinfer("--offline", "fit", "smollm3").stderr
    for name in ("smollm3:3b-q8_0", NAME):  # nothing is known of these
        assert edgeinfer("--offline", "fit", name).returncode == 5


def large_vocabulary(last: bytes = b"") -> bytes:
    """A model with as many tokens as Qwen's, as long as those are, and next to no weights.

    Args:
        last: an entry behind the vocabulary.
    """
    n, width, rng = 151_936, 32, random.Random(1)
    tokens = b"".join(string("x" * rng.randint(1, 13)) for _ in range(n))
    merges = b"".join(string("y" * rng.randint(3, 18)) for _ in range(n))
    entries = [text("general.architecture", "llama"), number("llama.context_length", 4096)]
    entries += [number("llama.embedding_length", width), number("llama.block_count", 1)]
    entries += [number("llama.feed_forward_length", width), number("llama.attention.head_count", 1)]
    entries += [entry("llama.attention.layer_norm_rms_epsilon", 6, b"\x17\xb7\xd1\x38")]
    entries += [array("tokenizer.ggml.tokens", STRING, n, tokens)]
    entries += [array("tokenizer.ggml.token_type", I32, n, bytes(4 * n))]
    entries += [array("tokenizer.ggml.merges", STRING, n, merges)] + ([last] if last else [])
    square = Tensor("", (width, width), Q8_0, bytes(width * 34))
    layer = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    tensors = [Tensor("token_embd.weight", (width, n), Q8_0, bytes(n * 34))]
    tensors += [replace(square, name=f"blk.0.{name}.weight") for name in layer]
    norms = ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")
    tensors += [Tensor(f"{name}.weight", (width,), F32, bytes(4 * width)) for name in norms]
    return Gguf(entries, tensors).bytes()


@pytest.mark.parametrize(
    "last",
    [number("tokenizer.ggml.eos_token_id", 3), number("zzz.unknown", 1), b""],
    ids=["known", "unknown", "nothing"],
)
def test_a_header_with_150_000_tokens_costs_less_than_5_mb(hub: FakeHub, last: bytes) -> None:
    data = large_vocabulary(last)
    assert data.find(b"blk.0.attn_q.weight") > 5_000_000  # what reading it from the beginning costs
    hub.repositories[REPO] = {"m-Q8_0.gguf": data}
    fit = fit_model(NAME, Use(4096))
    assert (fit.weight_bytes, fit.kv_bytes) == (len(data), 4096 * 2 * 32 * 2)
    assert hub.fetched == []
    if b"unknown" not in last:  # then nothing tells where the vocabulary ends, and all of it is read
        assert hub.sent_part_bytes < 5_000_000


def test_a_header_that_lies_ends_in_an_error_and_asks_for_no_more_than_a_header(
    hub: FakeHub, random_model: Path, tmp_path: Path
) -> None:
    data = random_model.read_bytes()
    end = data.index(b"blk.1.") + 1000
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng, before = random.Random(seed), sorted(tmp_path.rglob("*"))
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(4, end)
            broken[at : at + 8] = rng.choice([rng.randbytes(8), b"\xff" * 8, bytes(8)])
        hub.repositories[REPO] = {"m-Q8_0.gguf": bytes(broken)}
        hub.sent_part_bytes = 0
        with contextlib.suppress(EdgeInferError):
            fit_model(NAME, Use())
        assert hub.sent_part_bytes < 130 << 20
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "fault",
    [
        Fault(ranges=False),
        Fault(status=500),
        Fault(body=b"short"),
        Fault(headers={"Content-Range": "bytes 0-9/10"}),
    ],
)
def test_a_server_that_gives_no_parts_is_told(hub: FakeHub, fault: Fault) -> None:
    hub.part_faults.extend([fault] * 8)
    with pytest.raises(NetworkError):
        fit_plan(plan_pull(NAME), Use())
    hub.repositories[REPO] = {"m-Q8_0.gguf": b"PK" + bytes(1000)}
    hub.part_faults.clear()
    with pytest.raises(BadModelFile, match="no GGUF"):
        fit_plan(plan_pull(NAME), Use())


RUN = """
import sys
import edgeinfer
with edgeinfer.load(sys.argv[1], context_length=2048, threads=2) as model:
    prompt = "the cat sat on the mat and looked. " * 200
    while len(model.tokenizer.encode(prompt)) > 1950:
        prompt = prompt[:-20]
    for token in model.generate(prompt, max_tokens=50, seed=1):
        pass
print([int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")][0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", ["llama", "gemma3"])
def test_the_memory_is_what_the_model_then_takes(tmp_path: Path, case: str) -> None:
    """A model whose weights, keys and values and activations are each as much as a process.

    With windows: what they do not see any more stays as long as there is room.
    """
    tiny_one = tiny.CASES[case]
    spec = replace(
        tiny_one.spec, n_embd=768, n_ff=6144, n_heads=12, n_kv_heads=12, head_dim=64, n_ctx_train=2048
    )
    path = tiny.write_case(tmp_path / "m.gguf", replace(tiny_one, spec=spec), "Q8_0")
    taken = subprocess.run([sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, check=True)
    assert fit_model(str(path), Use(2048)).total_bytes == pytest.approx(1024 * int(taken.stdout), rel=0.05)


def test_a_model_that_fits_is_told_with_its_speed(
    edgeinfer_command: Run, random_model: Path, home: Path
) -> None:
    code, out, _ = edgeinfer_command("fit", str(random_model), "--json", "-c", "512")
    report = json.loads(out)
    assert (code, report["verdict"], report["context"]) == (0, "fits", 512)
    assert report["bytes"]["total"] == sum(report["bytes"][part] for part in ("weights", "kv", "work"))
    assert min(report["decode_tokens_per_s"], report["prefill_tokens_per_s"]) > 0
    again = json.loads(edgeinfer_command("fit", str(random_model), "--json", "-c", "512")[1])
    assert again["decode_tokens_per_s"] == report["decode_tokens_per_s"]  # measured once
    stored = home / ".cache/edgeinfer/speed.json"
    for nonsense in ("[]", stored.read_text().replace('"target"', '"other"')):
        stored.write_text(nonsense)
        assert edgeinfer_command("fit", str(random_model))[0] == 0
        assert json.loads(stored.read_text())["speed"]["read_bytes_per_s"] > 1e6


def test_the_environment_is_asked_as_by_run(
    edgeinfer_command: Run, random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEINFER_KV_TYPE", "q8_0")
    monkeypatch.setenv("EDGEINFER_CONTEXT_LENGTH", "300")
    report = json.loads(edgeinfer_command("fit", str(random_model), "--json")[1])
    assert (report["kv_type"], report["context"]) == ("q8_0", 300)
    report = json.loads(
        edgeinfer_command("fit", str(random_model), "--json", "-c", "200", "--kv-type", "f16")[1]
    )
    assert (report["kv_type"], report["context"]) == ("f16", 200)


@pytest.mark.usefixtures("small_machine")
def test_what_does_not_fit_exits_4_and_names_what_does(
    hub: FakeHub, edgeinfer_command: Run, random_model: Path
) -> None:
    small, large = random_model.read_bytes(), random_model.read_bytes() + bytes(40 << 20)
    hub.repositories[REPO] = {"m-Q8_0.gguf": large, "m-Q4_0.gguf": small, "m-Q2_K.gguf": small[:-1]}
    fit = replace(fit_model(NAME, Use()), memory=Memory(1 << 30, 60 << 20))
    assert (fit.verdict, fit.smaller) == ("does not fit", f"{REPO}:Q4_0")
    assert replace(fit, memory=Memory(1 << 30, fit.total_bytes)).verdict == "tight"
    assert replace(fit, memory=Memory(1 << 30, 2 * fit.total_bytes)).verdict == "fits"
    code, out, err = edgeinfer_command("fit", NAME)
    assert (code, "does not fit" in out, err.startswith("hint: ")) == (4, True, True)
    assert edgeinfer_command("fit", "nothing-here")[0] == 9
    assert edgeinfer_command("fit", NAME, "-c", "1")[0] == 2
    assert edgeinfer_command("fit", NAME, "--parallel", "0")[0] == 2


@pytest.mark.usefixtures("small_machine")
def test_a_pull_of_what_does_not_fit_needs_a_yes(hub: FakeHub, edgeinfer_command: Run) -> None:
    code, out, err = edgeinfer_command("pull", NAME)
    assert (code, out, "does not fit" in err, "--yes" in err) == (4, "", True, True)
    assert hub.fetched == []
    assert edgeinfer_command("pull", NAME, "--dry-run")[0] == 0
    code, _, err = edgeinfer_command("pull", NAME, "--yes")
    assert (code, "does not fit" in err) == (0, True)


def test_a_person_is_asked(hub: FakeHub) -> None:
    """At a terminal, on a machine whose memory is all in use."""
    tight = "import edgeinfer.machine as m; m.memory = lambda: m.Memory(1 << 30, 1 << 20)"
    command = [
        sys.executable,
        "-P",
        "-c",
        f"{tight}; import edgeinfer.cli.main as c; c.console()",
        "pull",
        NAME,
    ]
    for answer, code in ((b"n\n", 130), (b"y\n", 0)):
        terminal, other_end = pty.openpty()
        os.write(terminal, answer)
        done = subprocess.run(command, stdin=other_end, capture_output=True, text=True, timeout=60)
        os.close(terminal)
        os.close(other_end)
        assert (done.returncode, "fetch it all the same?" in done.stderr) == (code, True)
        assert bool(hub.fetched) == (code == 0)


def test_a_pull_tells_whether_it_fits(hub: FakeHub) -> None:
    assert f"{NAME} fits" in edgeinfer("pull", NAME).stderr
    n_parts = len(hub.parts)
    assert edgeinfer("pull", NAME).stderr == ""  # it is here
    assert len(hub.parts) == n_parts
