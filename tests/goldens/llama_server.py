"""Records what llama.cpp's own server answers for the bundled model. Run by hand, never in CI.

    python tests/goldens/llama_server.py http://127.0.0.1:8080

The server: llama-server -m models/tiny/edgeinfer-tiny.gguf -c 512 -np 1. Writes llama_server.json, a list of
{path, body, status, answer}; the answer of a stream is the list of its events.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_GREEDY = {"n_predict": 6, "temperature": 0}
_CHAT = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
_MIDDLE = {"input_prefix": "def add(a, b):\n    return ", "input_suffix": "\n\nprint(add(1, 2))\n"}
_MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
_PARTS = [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "you"}]}]

REQUESTS: list[tuple[str, dict[str, Any] | None]] = [
    ("/slots", None),  # first: later it tells of the requests before
    ("/props", None),
    ("/health", None),
    ("/v1/models", None),
    ("/completion", {"prompt": "def fib", **_GREEDY, "return_tokens": True}),
    ("/completion", {"prompt": "def fib", **_GREEDY, "stream": True}),
    ("/completions", {"prompt": "def fib", **_GREEDY}),
    ("/completion", {"prompt": "def fib", "max_tokens": 50, "temperature": 0, "stop": ["return"]}),
    ("/completion", {"prompt": _CHAT, "n_predict": 150, "temperature": 0, "return_tokens": True}),
    ("/completion", {"prompt": [1, "def fib", "x"], **_GREEDY}),
    ("/completion", {"prompt": [77, 78], **_GREEDY}),
    ("/completion", {"prompt": ["def fib", [5, 6, 7]], **_GREEDY}),
    ("/completion", {"prompt": "def fib", **_GREEDY, "logit_bias": [["):", False], [264, -100]]}),
    ("/completion", {"prompt": "def fib", **_GREEDY, "logit_bias": {"352": -100, " return": False}}),
    ("/completion", {"prompt": _CHAT, "n_predict": 40, "temperature": 0, "ignore_eos": True}),
    ("/completion", {"prompt": "def fib", **_GREEDY, "n_probs": 1}),
    ("/completion", {"prompt": "x", **_GREEDY, "response_fields": ["content", "generation_settings/top_k"]}),
    ("/completion", {"prompt": "x", "n_predict": 0, "samplers": [], "response_fields": [""]}),
    ("/completion", {"prompt": "word " * 900}),
    ("/infill", {**_MIDDLE, **_GREEDY}),
    ("/infill", {"input_prefix": "a\n", "input_suffix": "b", "input_extra": [], "prompt": " c", **_GREEDY}),
    ("/tokenize", {"content": "hä€llo<|im_end|>", "with_pieces": True}),
    ("/tokenize", {"content": "hi<|im_end|>", "parse_special": False, "add_special": True}),
    ("/tokenize", {"content": [1, 2, "hi"]}),
    ("/tokenize", {}),
    ("/detokenize", {"tokens": [300, 2, 4095, 301]}),
    ("/apply-template", {"messages": _MESSAGES}),
    ("/apply-template", {"messages": _PARTS}),
    ("/v1/chat/completions", {"messages": _MESSAGES, "max_tokens": 6, "temperature": 0}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 900}]}),
]


def ask(server: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
    """Status and answer: GET without a body, else POST."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(server + path, data), timeout=60) as response:
            status, text = response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    if text.startswith("data: "):
        events = [line.removeprefix("data: ") for line in text.split("\n") if line]
        return status, [json.loads(event) for event in events]
    return status, json.loads(text)


def main(server: str) -> None:
    """Ask and write."""
    exchanges = []
    for path, body in REQUESTS:
        status, answer = ask(server, path, body)
        exchanges.append({"path": path, "body": body, "status": status, "answer": answer})
    out = Path(__file__).with_name("llama_server.json")
    out.write_text(json.dumps(exchanges, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
