"""Pictures of the screens, as SVG: look at them where one changes. WRITE_PICTURES=1 writes them anew."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from chatting import chat, until
from textual import __version__ as textual_version
from textual.widgets import TextArea

ANSWER = """Here is **how** it is done:

```python
def fib(n: int) -> int:
    # the slow way
    return n if n < 2 else fib(n - 1) + fib(n - 2)
```

1. first `one`
2. second, a longer item that wraps around somewhere when the terminal is narrow
   - nested

| name | size |
|---|---|
| tiny | 8 MB |
"""
COST = {"completion_tokens": 120, "tokens_per_s": 55.2, "first_token_s": 0.21, "prompt_tokens": 1300} | {
    "cached_tokens": 1200
}
PICTURES = Path(__file__).parent / "pictures"
MADE_WITH = "8.2.8"  # another Textual draws a little differently


@pytest.mark.skipif(textual_version != MADE_WITH, reason=f"made with Textual {MADE_WITH}")
@pytest.mark.parametrize(
    ("screen", "size", "theme"),
    [
        *(
            ("chat", s, t)
            for s in ((60, 20), (100, 30), (140, 45))
            for t in ("textual-dark", "textual-light")
        ),
        ("chat", (100, 30), "high-contrast"),
        *((screen, (100, 30), "textual-dark") for screen in ("greeting", "help", "parameters")),
    ],
)
def test_a_screen_looks_as_it_did(tmp_path: Path, screen: str, size: tuple[int, int], theme: str) -> None:
    async def scenario() -> str:
        async with chat(tmp_path, size=size) as (app, pilot, store):
            app.theme = theme
            if screen != "greeting":
                session = store.create("edgeinfer-tiny")
                asked = store.add(session.id, None, "user", "Show me some code, please.")
                answer = store.add(session.id, asked.id, "assistant", "")
                store.append(answer.id, ANSWER, "Let me think about it.")
                store.finish(answer.id, "stop", COST)
                store.update(session.id, title="Show me some code, please.")
                await app.chat.open(app._talk(store.session(session.id)))
            key = {"help": "f1", "parameters": "f4"}.get(screen)
            if key is not None:
                await pilot.press(key)
                await until(pilot, lambda: app.screen is not app.chat)
            for area in app.screen.query(TextArea):
                area.cursor_blink = False
            before, picture = "", app.export_screenshot(simplify=True)
            while picture != before:  # until all of it is drawn
                await pilot.pause(0.3)
                before, picture = picture, app.export_screenshot(simplify=True)
            return picture

    picture = re.sub(r"terminal-\d+", "terminal", asyncio.run(scenario()))
    # what fits depends on the memory of the machine
    picture = re.sub(r"new&#160;ones;.*?fit&#160;here\.", "", picture, flags=re.DOTALL)
    path = PICTURES / f"{screen}-{size[0]}x{size[1]}-{theme}.svg"
    if os.environ.get("WRITE_PICTURES"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(picture)
    assert picture == path.read_text()
