"""What the trained models say, and how often the draft agrees: `python -m tiny.evaluate --out DIR`."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer

from .data import library_sources
from .dialogues import DEFAULT_SYSTEM, Message, write_dialogues
from .model import NANO, TINY, Llama, Shape, greedy
from .tokenizer import END, STOP
from .train import SEED

QUESTIONS = (
    "How do I download a model?",
    "Which command gets me another model?",
    "What is a GGUF file?",
    "Does it work offline?",
    "Who are you?",
    "What is 3 + 4?",
    "What is the capital of France?",
    "How do I read a file in Python?",
    "Tell me about the Roman empire.",
    "Thank you!",
)


def load(shape: Shape, out: Path) -> Llama:
    """The trained model of this shape in out."""
    model = Llama(shape)
    model.load_state_dict(torch.load(out / f"{shape.name}.checkpoint.pt", weights_only=True)["model"])
    return model.eval()


def prompt(messages: Iterable[Message]) -> str:
    """Messages in ChatML, up to where the assistant speaks."""
    said = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages)
    return said + "<|im_start|>assistant\n"


def question(text: str) -> str:
    """One question under the default system prompt."""
    return prompt([("system", DEFAULT_SYSTEM), ("user", text)])


def end_tokens(tokenizer: Tokenizer) -> set[int]:
    """The ids that end an answer or a document."""
    vocab: dict[str, int] = tokenizer.get_vocab()
    return {vocab[END], vocab[STOP]}


@torch.no_grad()
def agreement(tiny: Llama, nano: Llama, tokenizer: Tokenizer, prompts: list[str], n_new: int) -> float:
    """Share of tiny's greedy tokens that nano would have guessed from the same text before."""
    stop = end_tokens(tokenizer)
    same = total = 0
    for text in prompts:
        before = tokenizer.encode(text).ids
        made = greedy(tiny, before, n_new, stop)
        guesses = nano(torch.tensor([before + made]))[0, len(before) - 1 : -1].argmax(-1).tolist()
        same += sum(a == b for a, b in zip(made, guesses, strict=True))
        total += len(made)
    return same / total


def unseen_prompts(n: int) -> list[str]:
    """First questions of dialogues from a seed that the training did not use."""
    dialogues = (m for m in write_dialogues(n, SEED + 99) if m)
    return [prompt(m[: 1 + [role for role, _ in m].index("user")]) for m in dialogues]


def code_prompts(n: int) -> list[str]:
    """Beginnings in source files that were held out."""
    rng = random.Random(SEED)
    texts = [text.splitlines(keepends=True) for text in library_sources()[::50]]
    starts = [(lines, rng.randrange(max(1, len(lines) - 20))) for lines in rng.choices(texts, k=n)]
    return ["".join(lines[i : i + 15]) for lines, i in starts]


def main() -> None:
    """Print the answers to QUESTIONS and the draft's agreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder that train.py wrote")
    out = parser.parse_args().out
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tiny, nano = load(TINY, out), load(NANO, out)
    stop = end_tokens(tokenizer)
    for text in QUESTIONS:
        answer = greedy(tiny, tokenizer.encode(question(text)).ids, 120, stop)
        print(f"> {text}\n{tokenizer.decode(answer)}\n")
    print(f"agreement on dialogues: {agreement(tiny, nano, tokenizer, unseen_prompts(150), 100):.3f}")
    print(f"agreement on code: {agreement(tiny, nano, tokenizer, code_prompts(20), 64):.3f}")


if __name__ == "__main__":
    main()
