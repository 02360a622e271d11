"""A plain PyTorch Llama: the shapes of our two models and their forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Hyperparameters of one model; every row length is a multiple of 256, so that any GGUF type fits."""

    name: str
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_vocab: int = 4096
    n_ctx: int = 1024
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head


TINY = Shape("edgeinfer-tiny", n_layer=8, n_embd=256, n_ff=768, n_head=4, n_head_kv=2)
NANO = Shape("edgeinfer-nano", n_layer=2, n_embd=256, n_ff=256, n_head=4, n_head_kv=1)


def rope_table(shape: Shape) -> Tensor:
    """Cosines and sines of every position and pair: float32 (2, n_ctx, head_dim / 2)."""
    pair = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angle = torch.outer(torch.arange(shape.n_ctx, dtype=torch.float32), shape.rope_base**-pair)
    return torch.stack([angle.cos(), angle.sin()])


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn neighbouring pairs (0,1), (2,3)... of x (batch, heads, time, head_dim).

    This is llama.cpp's "norm" RoPE, so the export needs no permutation of the rows of q and k.
    """
    cos, sin = table[0, : x.shape[2]], table[1, : x.shape[2]]
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)


class Layer(nn.Module):
    """One decoder layer: attention, then a gated feed-forward, each behind an RMS norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        n_kv = shape.n_head_kv * shape.head_dim
        self.attn_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_eps)
        self.attn_q = nn.Linear(shape.n_embd, shape.n_embd, bias=False)
        self.attn_k = nn.Linear(shape.n_embd, n_kv, bias=False)
        self.attn_v = nn.Linear(shape.n_embd, n_kv, bias=False)
        self.attn_output = nn.Linear(shape.n_embd, shape.n_embd, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_eps)
        self.ffn_gate = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.ffn_up = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.ffn_down = nn.Linear(shape.n_ff, shape.n_embd, bias=False)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """Map x (batch, time, n_embd) to the same shape."""
        x = x + self.attend(self.attn_norm(x), table)
        h = self.ffn_norm(x)
        out: Tensor = x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return out

    def attend(self, h: Tensor, table: Tensor) -> Tensor:
        """Causal grouped-query attention over h (batch, time, n_embd)."""
        batch, time, _ = h.shape
        heads = (batch, time, -1, self.shape.head_dim)
        q = rotate(self.attn_q(h).view(heads).transpose(1, 2), table)
        k = rotate(self.attn_k(h).view(heads).transpose(1, 2), table)
        v = self.attn_v(h).view(heads).transpose(1, 2)
        group = self.shape.n_head // self.shape.n_head_kv
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.attn_output(mixed.transpose(1, 2).reshape(batch, time, -1))
        return out


class Llama(nn.Module):
    """The whole model; the embedding matrix is also the output matrix (tied)."""

    table: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.n_vocab, shape.n_embd)
        self.blk = nn.ModuleList(Layer(shape) for _ in range(shape.n_layer))
        self.output_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_eps)
        self.register_buffer("table", rope_table(shape), persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(weight, std=0.02 if not last else 0.02 / (2 * shape.n_layer) ** 0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, time, n_vocab) of tokens (batch, time)."""
        x = self.token_embd(tokens)
        for layer in self.blk:
            x = layer(x, self.table)
        return F.linear(self.output_norm(x), self.token_embd.weight)


@torch.no_grad()
def greedy(model: Llama, tokens: list[int], n_new: int, stop: set[int]) -> list[int]:
    """The n_new most likely next tokens, without a cache (slow and plain: it is the reference)."""
    made: list[int] = []
    while len(made) < n_new and len(tokens) + len(made) < model.shape.n_ctx:
        logits = model(torch.tensor([tokens + made]))[0, -1]
        best = int(logits.argmax())
        made.append(best)
        if best in stop:
            break
    return made
