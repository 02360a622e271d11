"""DecoderSpec: everything the one native decoder needs to know about a model, as plain numbers.

A family file (llama.py, qwen2.py, ...) turns GGUF metadata into one of these; native/src/model/spec.h
is its twin in C++. A trait enters here when a second family needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pooling = Literal["none", "mean", "cls", "last"]

N_SINKS = 32  # one block of the KV cache; StreamingLLM found 4 tokens to be enough


@dataclass(frozen=True)
class RopeTable:
    """One rotary embedding: the angle of pair i at position p is `p * frequencies[i]` (radians).

    All scalings (linear, llama3, YaRN, long-rope) are folded into the frequencies when the spec is
    built, so the decoder knows none of them.
    """

    frequencies: tuple[float, ...]  # (n_rot / 2), radians per position
    magnitude: float = 1.0  # multiplies cos and sin (YaRN and long-rope attention factor)


@dataclass(frozen=True, order=True)
class Span:
    """What a token sees: its window, and of what lies before that only the first tokens, the sinks."""

    window: int  # tokens, itself included; 0: all
    n_sinks: int = 0

    def first(self, position: int) -> int:
        """Where the window of a token begins. As long as only sinks lie before it, it is all there is."""
        begin = position - self.window + 1
        return 0 if self.window == 0 or begin <= self.n_sinks else begin

    def kept(self, n_tokens: int, step_tokens: int) -> int:
        """Most tokens of a sequence of n that are needed at once, while steps of such a size compute it."""
        return min(n_tokens, self.n_sinks + self.window + step_tokens) if self.window else n_tokens


@dataclass(frozen=True)
class DecoderSpec:
    """A decoder-only transformer with RMS norms, as the native engine runs it."""

    architecture: str  # general.architecture of the file
    n_layers: int
    n_embd: int  # width of the residual stream
    n_vocab: int  # rows of token_embd.weight
    n_ctx_train: int  # tokens the model was trained for
    n_heads: int
    n_kv_heads: int  # divides n_heads
    head_dim: int  # of queries, keys and values
    n_ff: int  # width of the dense feed-forward; 0 when every layer is experts
    norm_eps: float  # of every RMS norm

    # Norms: where they stand. Weights: attn_norm/ffn_norm (pre), post_attention_norm/post_ffw_norm (post).
    pre_norm: bool = True
    post_norm: bool = False
    qk_norm: Literal["none", "head", "row"] = (
        "none"  # over each head's head_dim (qwen3), or the whole row (olmo2)
    )

    # Projections: which tensors the layers have.
    qkv_bias: bool = False  # blk.N.attn_{q,k,v}.bias
    output_bias: bool = False  # blk.N.attn_output.bias
    fused_qkv: bool = False  # blk.N.attn_qkv.weight instead of attn_q, attn_k, attn_v
    fused_gate_up: bool = False  # blk.N.ffn_up.weight has 2 * n_ff rows: gate, then up
    tied_output: bool = False  # no output.weight: the head is token_embd.weight
    activation: Literal["silu", "gelu"] = "silu"  # gelu is the tanh approximation

    # Positions.
    rope_style: Literal["adjacent", "halves"] = (
        "adjacent"  # pairs (2i, 2i+1) as llama, or (i, i + n_rot/2) as NeoX
    )
    ropes: tuple[RopeTable, ...] = ()
    layer_rope: tuple[int, ...] = ()  # (n_layers) index into ropes, -1: this layer has no positions
    layer_window: tuple[
        int, ...
    ] = ()  # (n_layers) a token sees this many last tokens, itself included; 0: all

    kv_window: int = 0  # layers that see all see the first N_SINKS and this many last tokens instead; 0: all

    # Scales and caps; 1.0 and 0.0 mean "none".
    attention_scale: float = 0.0  # multiplies q.k; must be set, usually head_dim ** -0.5
    attention_softcap: float = 0.0  # scores = cap * tanh(scores / cap)
    logit_softcap: float = 0.0
    embedding_scale: float = 1.0
    residual_scale: float = 1.0  # multiplies what attention and feed-forward add to the residual stream
    logit_scale: float = 1.0  # multiplies the logits

    # Experts (0: dense). Weights: ffn_gate_inp, ffn_{gate,up,down}_exps.
    n_experts: int = 0
    n_experts_used: int = 0
    n_ff_expert: int = 0
    expert_weights_norm: bool = False  # the chosen experts' softmax weights are scaled to sum to 1
    expert_weights_scale: float = 1.0

    # How the final states of a text become its vector; "none": they become logits, it is no embedding model
    pooling: Pooling = "none"

    @property
    def layer_span(self) -> tuple[Span, ...]:
        """(n_layers) what the tokens of each layer see."""
        all_seen = Span(self.kv_window, N_SINKS if self.kv_window else 0)
        return tuple(Span(window) if window else all_seen for window in self.layer_window)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The kinds of layers, ascending. The KV cache has a pool for each."""
        return tuple(sorted(set(self.layer_span)))
