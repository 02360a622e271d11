"""Trains edgeinfer-tiny and edgeinfer-nano from nothing: `cd models && python -m tiny.train --out DIR`.

One seed decides everything: the dialogues, the order of the rows, the first weights. Needs torch,
tokenizers, numpy and gguf. A stopped run goes on from its last checkpoint in DIR.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from .data import Rows, code_pieces, dialogue_pieces, library_sources, pack
from .dialogues import chatml, write_dialogues
from .export import write_gguf
from .model import NANO, TINY, Llama, Shape
from .tokenizer import train_tokenizer

SEED = 20261121
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Corpus:
    """Rows of one length: code and dialogues for training, and a little of both held out."""

    code: Rows
    talk: Rows
    held_code: Rows
    held_talk: Rows


@dataclass(frozen=True)
class Plan:
    """One training run: a constant learning rate, then a straight fall to zero.

    Nothing before the fall depends on n_steps, so a longer run can go on from a shorter one's checkpoint.
    The fall sees more dialogues, and rows of 1024 tokens, so that all positions are learnt at little cost.
    """

    n_steps: int
    n_fall: int
    lr: float
    talk_share: tuple[float, float]  # share of dialogue rows before and in the fall
    warmup: int = 50

    def falling(self, step: int) -> bool:
        """Whether the learning rate falls at this step."""
        return step >= self.n_steps - self.n_fall

    def learning_rate(self, step: int) -> float:
        """The learning rate of this step."""
        if self.falling(step):
            return self.lr * (self.n_steps - step) / (self.n_fall + 1)
        return self.lr * min(1.0, (step + 1) / self.warmup)


def make_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in path, trained first if it is not there."""
    if not path.exists():
        talk = ["".join(text for text, _ in chatml(m)) for m in write_dialogues(15_000, SEED)]
        train_tokenizer([*library_sources(), *talk]).save(str(path))
    return Tokenizer.from_file(str(path))


def make_corpus(tokenizer: Tokenizer, length: int, n_talk: int, seed: int) -> Corpus:
    """Every 50th source file is held out; held-out dialogues come from another seed."""
    rng, texts = random.Random(seed), library_sources()
    held, kept = texts[::50], [t for i, t in enumerate(texts) if i % 50]
    return Corpus(
        code=pack(code_pieces(kept, rng), tokenizer, length),
        talk=pack(dialogue_pieces(n_talk, seed), tokenizer, length),
        held_code=pack(code_pieces(held, rng), tokenizer, length),
        held_talk=pack(dialogue_pieces(800, seed + 1), tokenizer, length),
    )


def endless(rows: Rows, rng: np.random.Generator) -> Iterator[int]:
    """Row numbers without end, each round in a new order."""
    while True:
        yield from rng.permutation(len(rows.tokens)).tolist()


def as_tensors(tokens: list[np.ndarray], weights: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Tokens int64 and weights float32, both (n, length + 1)."""
    return torch.from_numpy(np.stack(tokens).astype(np.int64)), torch.from_numpy(np.stack(weights))


def batches(corpora: tuple[Corpus, Corpus], plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
    """For every step a batch of BATCH_TOKENS, from the short corpus first and the long one at the end."""
    rng = np.random.default_rng(SEED)
    orders = [(endless(c.code, rng), endless(c.talk, rng)) for c in corpora]
    for step in range(plan.n_steps):
        late = plan.falling(step)
        corpus, order, share = corpora[late], orders[late], plan.talk_share[late]
        tokens, weights = [], []
        for _ in range(BATCH_TOKENS // (corpus.code.tokens.shape[1] - 1)):
            talk = bool(rng.random() < share)
            rows, i = (corpus.talk if talk else corpus.code), next(order[talk])
            tokens.append(rows.tokens[i])
            weights.append(rows.weights[i])
        yield as_tensors(tokens, weights)


def optimizers(model: Llama, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices (it learns more from few tokens), AdamW for the embedding and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embd" not in name]
    rest = [p for name, p in model.named_parameters() if p.dim() == 1 or "embd" in name]
    return [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def weighted_loss(logits: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy (nats per token) of tokens (n, length + 1) under logits (n, length, n_vocab)."""
    losses = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    wanted = weights[:, 1:].flatten()
    return (losses * wanted).sum() / wanted.sum()


@torch.no_grad()
def evaluate(model: Llama, rows: Rows, n_rows: int = 48) -> float:
    """Loss on the held-out rows; only what counts fully."""
    tokens, weights = as_tensors(list(rows.tokens[:n_rows]), list(rows.weights[:n_rows]))
    with torch.autocast("cpu", torch.bfloat16):
        return float(weighted_loss(model(tokens[:, :-1]), tokens, (weights == 1.0).float()))


Forward = Callable[[Tensor], Tensor]  # tokens (n, length) to logits (n, length, n_vocab)
Objective = Callable[[Forward, Tensor, Tensor], Tensor]


def plain_objective(model: Forward, tokens: Tensor, weights: Tensor) -> Tensor:
    """The next token."""
    return weighted_loss(model(tokens[:, :-1]), tokens, weights)


def distil_from(teacher: Forward) -> Objective:
    """The teacher's distribution (Hinton et al. 2015, temperature 1), and a little of the next token."""

    def objective(model: Forward, tokens: Tensor, weights: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher(tokens[:, :-1]).float().softmax(-1)
        logits = model(tokens[:, :-1]).float()
        losses = -(wanted * logits.log_softmax(-1)).sum(-1)  # (n, length)
        soft = (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()
        total: Tensor = soft + 0.1 * weighted_loss(logits, tokens, weights)
        return total

    return objective


def train(model: Llama, corpora: tuple[Corpus, Corpus], plan: Plan, objective: Objective, out: Path) -> None:
    """Train model in place, from the last checkpoint in out if there is one; losses go to out/NAME.log."""
    fast: Forward = torch.compile(model, dynamic=False)
    opts = optimizers(model, plan.lr)
    checkpoint = out / f"{model.shape.name}.checkpoint.pt"
    first = read_checkpoint(checkpoint, model, opts)
    began = time.monotonic()
    for step, (tokens, weights) in enumerate(batches(corpora, plan)):
        if step < first:
            continue
        for group in (g for o in opts for g in o.param_groups):
            group["lr"] = plan.learning_rate(step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = objective(fast, tokens, weights)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad()
        done = step + 1
        report = {"step": done, "loss": round(loss.item(), 4), "seconds": round(time.monotonic() - began)}
        if done % 100 == 0 or done == plan.n_steps:
            write_checkpoint(checkpoint, model, opts, done)
            report["held_code"] = round(evaluate(model, corpora[0].held_code), 4)
            report["held_talk"] = round(evaluate(model, corpora[0].held_talk), 4)
        if done % 20 == 0 or done == plan.n_steps:
            with (out / f"{model.shape.name}.log").open("a") as log:
                print(json.dumps(report), file=log)


def write_checkpoint(path: Path, model: Llama, opts: list[torch.optim.Optimizer], n_done: int) -> None:
    """Everything that going on from n_done steps needs; the old file stays until the new one is whole."""
    state = {"model": model.state_dict(), "opts": [o.state_dict() for o in opts], "n_done": n_done}
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def read_checkpoint(path: Path, model: Llama, opts: list[torch.optim.Optimizer]) -> int:
    """Restore model and optimizers; the number of steps already done, 0 without a checkpoint."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for opt, saved in zip(opts, state["opts"], strict=True):
        opt.load_state_dict(saved)
    n_done: int = state["n_done"]
    return n_done


def trained(
    shape: Shape, corpora: tuple[Corpus, Corpus], plan: Plan, out: Path, teacher: Llama | None
) -> Llama:
    """The finished model of this shape: trained now, or as far as out does not have it."""
    torch.manual_seed(SEED)
    model = Llama(shape)
    objective: Objective = plain_objective
    if teacher is not None:  # same vocabulary and width: begin with the teacher's token vectors
        model.token_embd.load_state_dict(teacher.token_embd.state_dict())
        objective = distil_from(torch.compile(teacher, dynamic=False))
    train(model, corpora, plan, objective, out)
    return model.eval()


def main() -> None:
    """Tokenizer, data, tiny, nano, and both GGUF files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--tiny-steps", type=int, default=TINY_PLAN.n_steps)
    parser.add_argument("--nano-steps", type=int, default=NANO_PLAN.n_steps)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(args.out / "tokenizer.json")
    corpora = (
        make_corpus(tokenizer, 512, 60_000, SEED + 10),
        make_corpus(tokenizer, 1024, 20_000, SEED + 20),
    )
    tiny = trained(TINY, corpora, replace(TINY_PLAN, n_steps=args.tiny_steps), args.out, teacher=None)
    nano = trained(NANO, corpora, replace(NANO_PLAN, n_steps=args.nano_steps), args.out, teacher=tiny)
    for model in (tiny, nano):
        write_gguf(model, tokenizer, args.out / f"{model.shape.name}.gguf", "Q8_0")
        write_gguf(model, tokenizer, args.out / f"{model.shape.name}-f16.gguf", "F16")


TINY_PLAN = Plan(n_steps=800, n_fall=250, lr=3e-3, talk_share=(0.5, 0.75))
NANO_PLAN = Plan(n_steps=700, n_fall=250, lr=4e-3, talk_share=(0.75, 0.75))

if __name__ == "__main__":
    main()
