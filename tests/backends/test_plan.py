"""The memory plan: figures, defaults and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny

from edgeinfer import _native
from edgeinfer.backends.plan import kv_bytes_per_token, plan_memory
from edgeinfer.errors import InvalidRequest, NotEnoughMemory
from edgeinfer.machine import Memory

GIB = 1 << 30
# the shape of Llama-3.2-1B: 16 layers x 2 x 8 heads x 64 values x 2 bytes = 32 KiB a token
SPEC = replace(tiny.CASES["llama"].spec, n_layers=16, n_kv_heads=8, head_dim=64, n_ctx_train=131072)


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_kv_bytes_are_those_of_the_engine(kv_type: str) -> None:
    spec = tiny.CASES["llama"].spec
    block = _native.kv_block_bytes(spec, kv_type)
    assert block == _native.KV_BLOCK_TOKENS * kv_bytes_per_token(spec, kv_type)


def plan(available: int, context_length: int | None = None, kv_type: str = "f16") -> int:
    memory = Memory(64 * GIB, available)
    return plan_memory(
        SPEC, file_bytes=GIB, kv_type=kv_type, context_length=context_length, memory=memory
    ).context_length


def test_the_default_context_is_8192_or_what_fits() -> None:
    assert plan(8 * GIB) == 8192
    assert plan(GIB + (128 << 20) + (100 << 20)) == 3200
    assert plan(GIB + (128 << 20) + (100 << 20), kv_type="q8_0") > 6000


def test_what_does_not_fit_is_refused_with_the_figures() -> None:
    with pytest.raises(NotEnoughMemory, match=r"1\.1 GB \+ 2\.1 GB KV .* 3\.2 GB are available"):
        plan(3 * GIB, context_length=65536)
    with pytest.raises(NotEnoughMemory):
        plan(GIB)


def test_a_context_beyond_the_training_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="from 2 to 131072"):
        plan(64 * GIB, context_length=131073)


def test_the_pool_holds_several_contexts_only_if_memory_allows() -> None:
    def pool(available: int) -> int:
        memory = Memory(64 * GIB, available)
        found = plan_memory(SPEC, file_bytes=GIB, kv_type="f16", context_length=8192, memory=memory)
        return found.pool_tokens

    assert pool(16 * GIB) == 4 * 8192
    assert pool(GIB + (128 << 20) + (300 << 20)) == 9600
