"""The catalog: sound, honest about what edgeinfer runs, and no way in for who tampers with it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import tiny

from edgeinfer.backends.plan import kv_bytes
from edgeinfer.config.table import KvType
from edgeinfer.errors import IntegrityError
from edgeinfer.hub.catalog import CatalogModel, catalog, read_catalog
from edgeinfer.hub.estimate import estimate
from edgeinfer.hub.fit import Use
from edgeinfer.hub.names import HubName, parse
from edgeinfer.hub.variants import quant_of

FAMILY = 'default = "1b"\nlicence = "MIT"\nchat = "chatml"\narchitecture = "llama"\n'
SIZE = 'repo = "a/b-GGUF"\nquant = "Q8_0"\n'


def test_the_catalog_is_sound() -> None:
    models = catalog().models
    for family, default in catalog().defaults.items():
        assert f"{family}:{default}" in models
    for name, model in models.items():
        assert name == name.lower()
        assert isinstance(parse(model.repo), HubName)
        assert model.draft is None or model.draft in models
        for quant, file in model.files.items():
            assert quant_of(file.name) == quant, file
            assert file.size_bytes is None or file.size_bytes > 1 << 20
        assert model.shape is None or model.is_runnable, "nobody asks what it takes"
    digests = [file.sha256 for model in models.values() for file in model.files.values() if file.sha256]
    assert len(digests) == len(set(digests)) > 30


def test_it_says_what_edgeinfer_can_run() -> None:
    runs = {
        name: catalog().models[name].is_runnable
        for name in ("qwen3:4b", "gemma3:4b", "nomic-embed-text:v1.5")
    }
    assert runs == {"qwen3:4b": True, "gemma3:4b": True, "nomic-embed-text:v1.5": False}


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "iq4_nl"])
@pytest.mark.parametrize("name", ["llama3.1:8b", "gemma3:1b", "qwen2.5:0.5b"])
def test_an_estimate_reckons_as_the_engine_does(name: str, kv_type: KvType) -> None:
    model = catalog().models[name]
    shape = model.shape
    assert shape is not None
    windows = (shape.window,) * shape.window_layers + (0,) * (shape.layers - shape.window_layers)
    spec = replace(
        tiny.CASES["llama"].spec,
        n_layers=shape.layers,
        n_kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        layer_window=windows,
    )
    for n_tokens, parallel in ((100, 1), (8192, 3)):
        fit = estimate(model, Use(n_tokens, parallel, kv_type))
        assert fit is not None
        assert fit.kv_bytes == pytest.approx(parallel * kv_bytes(spec, kv_type, n_tokens), rel=0.001)
        assert fit.weight_bytes == model.files[model.quant].size_bytes
        assert fit.summary(None).startswith(f"{fit.verdict}: about ")


def test_an_estimate_needs_nothing_of_the_network() -> None:
    """Sixty of them are made while somebody opens a list."""
    code = "import sys; import edgeinfer.hub.estimate; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert {"huggingface_hub", "httpx2"} & set(loaded.stdout.split()) == set()


def test_what_the_catalog_does_not_know_is_not_estimated() -> None:
    bare = CatalogModel("x:1b", "a/b", "Q8_0", "MIT", "", "llama")
    assert estimate(bare, Use()) is None


@pytest.mark.parametrize(
    "size",
    [
        'repo = "../../etc"\nquant = "Q8_0"\n',
        'repo = "a/../b"\nquant = "Q8_0"\n',
        'repo = "a"\nquant = "Q8_0"\n',
        "repo = 1\nquant = 2\n",
        'repo = "a/b"\n',
        SIZE + 'revision = "../../x"\n',
        SIZE + 'unknown = "x"\n',
        SIZE + "files = 7\n",
        SIZE + 'files.Q8_0 = { name = "../x.gguf" }\n',
        SIZE + 'files.Q8_0 = { name = "/etc/x.gguf" }\n',
        SIZE + 'files.Q8_0 = { name = "x.sh" }\n',
        SIZE + 'files.Q8_0 = { name = "x.gguf", sha256 = "zz" }\n',
        SIZE + 'files.Q8_0 = { name = "x.gguf", size_bytes = -1 }\n',
        SIZE + 'files.Q8_0 = { name = "x.gguf", size_bytes = "many" }\n',
        SIZE + 'draft = ["a"]\n',
        SIZE + 'licence = "\\u001b[2J"\n',
        SIZE + "shape = { layers = -1, kv_heads = 1, head_dim = 1, context = 1 }\n",
        SIZE + 'shape = { layers = "1", kv_heads = 1, head_dim = 1, context = 1 }\n',
        SIZE + "shape = { layers = 1 }\n",
    ],
)
def test_a_hostile_row_is_refused(size: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        read_catalog(f'[x]\n{FAMILY}[x."1b"]\n{size}')
    assert (caught.value.exit_code, caught.value.hint) == (8, "install edgeinfer again")


@pytest.mark.parametrize(
    "text",
    [
        "[x",
        "x = 1",
        "[x]\n",
        f"[x]\n{FAMILY}",
        "\0",
        "x = " + "[" * 10_000,
        f'[x]\n{FAMILY}["../y"."1b"]\n{SIZE}',
        f'[x]\n{FAMILY}[x."../1b"]\n{SIZE}',
        f"[x]\n{FAMILY}1b = 7",
    ],
)
def test_a_broken_catalog_is_told(text: str) -> None:
    with pytest.raises(IntegrityError, match="catalog"):
        read_catalog(text)
