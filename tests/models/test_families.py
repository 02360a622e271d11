"""No trait without a user: each field of DecoderSpec is set by a family and read by the engine."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import tiny
from edgeinfer.models import FAMILIES
from edgeinfer.models.spec import DecoderSpec

# the engine gets both windows as what they come to; how states are pooled is not its business
NAMES = {f.name for f in fields(DecoderSpec)} - {"layer_window", "kv_window", "pooling"} | {"layer_span"}


def test_every_trait_differs_from_its_default_in_a_confirmed_case() -> None:
    traits = {f.name: f.default for f in fields(DecoderSpec) if f.default is not MISSING}
    specs = [case.spec for case in (*tiny.CASES.values(), *tiny.EMBEDDERS.values())]
    unused = {name for name, default in traits.items() if all(getattr(s, name) == default for s in specs)}
    assert unused == {
        "expert_weights_scale",  # llama.cpp reads this key too, no file of these families has it
        "kv_window",  # asked for by the user
    }


def test_every_family_has_a_case_that_llama_cpp_has_confirmed() -> None:
    assert {case.spec.architecture for case in tiny.CASES.values()} == set(FAMILIES)


def test_every_field_has_its_twin_in_the_engine(repository: Path) -> None:
    sources = [*(repository / "native" / "src").rglob("*.cpp"), *(repository / "native" / "src").rglob("*.h")]
    bound = (repository / "native" / "src" / "bind" / "engine.cpp").read_text()
    engine = "".join(p.read_text() for p in sources if p.parent.name in ("model", "engine"))
    for name in NAMES:
        assert f'"{name}"' in bound, f"{name} does not reach the engine"
        assert re.search(rf"\b{name}\b", engine), f"the engine has no {name}"
