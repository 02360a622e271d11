"""The memory plan: figures, defaults and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import tiny

from edgeinfer.backends.base import ENDLESS
from edgeinfer.backends.plan import (
    filled_kv_bytes,
    kv_bytes,
    kv_bytes_per_token,
    plan_memory,
    work_bytes,
)
from edgeinfer.config.table import KvType
from edgeinfer.errors import InvalidRequest, NotEnoughMemory
from edgeinfer.machine import Memory

GIB = 1 << 30
# the shape of Llama-3.2-1B: 16 layers x 2 x 8 heads x 64 values x 2 bytes = 32 KiB a token
SPEC = replace(
    tiny.CASES["llama"].spec,
    n_layers=16,
    layer_window=(0,) * 16,
    n_kv_heads=8,
    head_dim=64,
    n_ctx_train=131072,
)
BUSY = GIB + work_bytes(SPEC, 8192)  # the weights of a model of 1 GiB, and what it computes in


@pytest.mark.parametrize(
    ("shape", "f16", "q8_0", "iq4_nl"),
    [
        ({"n_layers": 16, "n_kv_heads": 8, "head_dim": 64}, 32768, 17408, 9216),  # Llama-3.2-1B
        ({"n_layers": 24, "n_kv_heads": 2, "head_dim": 64}, 12288, 6528, 3456),  # Qwen2.5-0.5B
        ({"n_layers": 32, "n_kv_heads": 8, "head_dim": 128}, 131072, 69632, 36864),  # Llama-3.1-8B
        ({"n_layers": 1, "n_kv_heads": 1, "head_dim": 80}, 384, 204, 108),  # stored as 96
    ],
)
def test_keys_and_values_of_a_token(shape: dict[str, int], f16: int, q8_0: int, iq4_nl: int) -> None:
    spec = replace(SPEC, **shape)
    found = {kv_type: kv_bytes_per_token(spec, kv_type) for kv_type in get_args(KvType)}
    assert found == {"f16": f16, "q8_0": q8_0, "iq4_nl": iq4_nl}


def plan(available: int, context_length: int | None = None, kv_type: str = "f16") -> int:
    memory = Memory(64 * GIB, available)
    return plan_memory(
        SPEC, file_bytes=GIB, kv_type=kv_type, context_length=context_length, memory=memory
    ).context_length


def test_the_default_context_is_8192_or_what_fits() -> None:
    assert plan(8 * GIB) == 8192
    assert plan(BUSY + (100 << 20)) == 3200
    assert plan(BUSY + (100 << 20), kv_type="q8_0") > 6000


def test_what_does_not_fit_is_refused_with_the_figures() -> None:
    with pytest.raises(NotEnoughMemory, match=r"1\.1 GB \+ 2\.1 GB KV .* 3\.2 GB are available"):
        plan(3 * GIB, context_length=65536)
    with pytest.raises(NotEnoughMemory):
        plan(GIB)


def test_a_context_beyond_the_training_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="from 2 to 131072"):
        plan(64 * GIB, context_length=131073)


def test_the_pool_holds_several_contexts_only_if_memory_allows() -> None:
    def pool(available: int) -> tuple[int, ...]:
        memory = Memory(64 * GIB, available)
        found = plan_memory(SPEC, file_bytes=GIB, kv_type="f16", context_length=8192, memory=memory)
        return found.pool_tokens

    assert pool(16 * GIB) == (4 * 8192,)
    assert pool(BUSY + (300 << 20)) == (9600,)


# Gemma 3 1B: 26 layers, four of which see everything, the others 512 tokens
GEMMA3 = replace(
    tiny.CASES["gemma3"].spec,
    n_layers=26,
    layer_window=tuple(512 if (i + 1) % 6 else 0 for i in range(26)),
    n_kv_heads=1,
    head_dim=256,
    n_ctx_train=32768,
)


def test_layers_with_a_window_count_with_that_and_a_step() -> None:
    per_token = kv_bytes_per_token(GEMMA3, "f16")
    assert kv_bytes(GEMMA3, "f16", 1000) == 1000 * per_token
    assert kv_bytes(GEMMA3, "f16", 8192) == (4 * 8192 + 22 * 1024) * per_token // 26
    assert kv_bytes(GEMMA3, "f16", 32768) < 6 * kv_bytes(GEMMA3, "f16", 2048)


def test_what_windows_have_passed_stays_where_there_is_room() -> None:
    layer = kv_bytes_per_token(GEMMA3, "f16") // 26
    assert filled_kv_bytes(GEMMA3, "f16", 8192, 1, GIB) == 26 * 8192 * layer
    assert filled_kv_bytes(GEMMA3, "f16", 8192, 1, 0) == kv_bytes(GEMMA3, "f16", 8192)
    needed = filled_kv_bytes(GEMMA3, "f16", 8192, 3, 0)
    assert needed == 3 * kv_bytes(GEMMA3, "f16", 8192)  # does not fit: so much is told to lack
    assert kv_bytes(GEMMA3, "f16", 8192) < filled_kv_bytes(GEMMA3, "f16", 8192, 1, 60 << 20) <= 60 << 20


def test_more_contexts_than_the_pools_hold_take_turns() -> None:
    one = kv_bytes(SPEC, "f16", 1000)
    assert [filled_kv_bytes(SPEC, "f16", 1000, n, 8 * GIB) // one for n in (1, 2, 4, 9)] == [1, 2, 4, 4]


def test_windows_let_a_longer_context_fit() -> None:
    whole = replace(GEMMA3, layer_window=(0,) * 26)
    memory = Memory(64 * GIB, GIB + work_bytes(GEMMA3, 8192) + (60 << 20))
    with_windows, without = (
        plan_memory(spec, file_bytes=GIB, kv_type="f16", context_length=None, memory=memory)
        for spec in (GEMMA3, whole)
    )
    assert with_windows.context_length == 8192
    assert without.context_length < 2500
    assert with_windows.pool_tokens[1] < with_windows.pool_tokens[0]


def test_pools_never_take_more_than_there_is() -> None:
    for mebibytes in range(60, 1000, 20):
        memory = Memory(64 * GIB, GIB + work_bytes(GEMMA3, 8192) + (mebibytes << 20))
        found = plan_memory(GEMMA3, file_bytes=GIB, kv_type="q8_0", context_length=8192, memory=memory)
        layer = kv_bytes_per_token(GEMMA3, "q8_0") // 26
        assert layer * (4 * found.pool_tokens[0] + 22 * found.pool_tokens[1]) <= mebibytes << 20


def test_a_kv_window_takes_what_it_sees_and_a_step_however_long_the_text() -> None:
    spec = replace(SPEC, kv_window=1000)
    found = plan_memory(
        spec, file_bytes=GIB, kv_type="f16", context_length=None, memory=Memory(64 * GIB, 8 * GIB)
    )
    assert found.context_length == ENDLESS
    assert found.kv_bytes == (32 + 1000 + 512) * kv_bytes_per_token(SPEC, "f16")
