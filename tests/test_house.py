"""The drawing of the house stays true: who imports whom, what stands at the top, what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TOP = {"pyproject.toml", "README.md", "edgeinfer", "native", "models", "tests", "packaging"}
MADE_BY_TOOLS = {"build", "dist"}

# room -> what of ours it may import, and does; only rooms above it. `_native` is the C++ engine.
ALLOWED: dict[str, set[str]] = {
    room: set(imported.split())
    for room, imported in {
        "errors": "",
        "paths": "errors",
        "disk": "errors",
        "durations": "",
        "address": "errors",
        "keys": "errors",
        "machine": "",
        "sessions": "errors",
        "text": "errors _native",
        # models and their computation
        "models": "errors _native",
        "backends.base": "models.spec",  # how an embedding model pools
        "kv": "errors disk backends.base models.spec",  # what a snapshot is, what a token sees
        "engine": "errors backends.base kv.disk kv.tokens",
        # what can be set, and what is asked of a model besides the prompt
        "config": "errors address paths disk durations engine.sampling",
        "defaults": "",
        "options": "errors defaults engine.request engine.sampling text.grammar",
        "parameters": "errors config.table defaults options engine.sampling",
        # what runs them
        "backends.plan": "errors backends.base machine models _native",
        "backends.native": "errors backends.base kv models config _native",
        "backends.choose": "errors machine models config backends _native",
        # text in, text out
        "facts": "errors text _native",
        "streaming": "engine text.parts text.reading",
        "prompts": "errors defaults kv.tokens text",
        "chat_model": "defaults options streaming machine engine.events engine.stats text",
        "client": "errors defaults options chat_model prompts streaming machine engine facts text",
        # models by name
        "hub.ollama_parameters": "errors options parameters",
        "hub.modelfile": "errors defaults hub.ollama_parameters text.template",
        "hub.located": "errors config defaults hub.modelfile _native",
        "hub": "errors config paths disk models _native",
        "loading": "errors paths config machine client defaults engine.engine facts hub.names hub.located"
        " text _native backends.base backends.choose backends.plan kv.disk",
        # doors
        "remote": "errors address options chat_model defaults streaming text engine.events engine.sampling",
        "server": "errors address keys durations machine backends.plan hub.create hub.located hub.modelfile"
        " hub.names hub.store client loading options facts streaming text engine.embedding"
        " engine.sampling engine.request engine.events engine.stats",
        "batch": "errors client server.bodies server.embeddings server.failure server.streams server.openai",
        "bench": "errors machine paths models backends engine client server _native",
        # what a model will take, by the arithmetic of those who run and measure it; and without its file
        "hub.estimate": "config machine models hub.catalog hub.fit backends.base backends.plan bench.work",
        "hub.fit": "errors config machine models hub.catalog hub.estimate hub.header hub.located hub.names"
        " hub.pull _native backends.plan bench.work bench.speed text.sizes",
        "tui": "errors client address remote chat_model defaults streaming parameters sessions"
        " text.conversation text.safe text.sizes engine.events engine.stats backends.base hub"
        " bench.speed facts _native",  # what models are and how fast they will be
        "cli": "errors address keys remote chat_model config durations paths machine facts client loading"
        " text hub models _native backends.plan backends.choose engine.events streaming bench batch server"
        " parameters sessions tui",
        "__main__": "cli.main",
    }.items()
}


def modules(repository: Path) -> dict[str, Path]:
    """Dotted name below edgeinfer -> file. The recipe in models/tiny is a program of its own."""
    found = {}
    for prefix, folder in (("", repository / "edgeinfer"), ("models.", repository / "models")):
        for path in folder.rglob("*.py"):
            if path.is_relative_to(repository / "models" / "tiny"):
                continue
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            found[prefix + name.removesuffix("__init__").rstrip(".")] = path
    return found


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, anywhere in it, without the leading `edgeinfer.`"""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            assert node.level == 0, f"{path}: a relative import hides who is imported"
    return {name.removeprefix("edgeinfer.") for name in found if name.startswith("edgeinfer.")}


def room_of(module: str) -> str | None:
    """The room a module is in: the longest entry of the table that it begins with."""
    return max((room for room in ALLOWED if is_in(module, room)), key=len, default=None)


def is_in(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def test_each_room_imports_what_the_table_says(repository: Path) -> None:
    wrong, unused = [], {(room, allowed) for room in ALLOWED for allowed in ALLOWED[room]}
    for module, path in modules(repository).items():
        room = room_of(module)
        if room is None:
            continue  # edgeinfer/__init__.py and the empty __init__ of a split room
        for imported in imports(path) - {"__version__"}:
            found = {allowed for allowed in ALLOWED[room] if is_in(imported, allowed)}
            unused -= {(room, allowed) for allowed in found}
            if not found and not is_in(imported, room):
                wrong.append(f"{module} imports {imported}")
    assert wrong == []
    assert unused == set(), "nobody imports it: take it out of the table"


def test_rooms_import_those_above_them_in_the_table() -> None:
    rooms = list(ALLOWED)
    for place, room in enumerate(rooms):
        below = {other for other in rooms[place:] if other.split(".")[0] != room.split(".")[0]}
        for allowed in ALLOWED[room]:
            assert not [other for other in below if is_in(other, allowed) or is_in(allowed, other)], room


def test_every_room_is_in_the_table(repository: Path) -> None:
    split = {room.split(".")[0] for room in ALLOWED if "." in room}
    unknown = [m for m in modules(repository) if m and room_of(m) is None and m not in split]
    assert unknown == []


def test_the_top_level_is_exactly_seven_names(repository: Path) -> None:
    if (repository / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=False
        ).stdout.split("\n")
        visible = {line.split("/")[0] for line in listed if line and not line.startswith(".")}
    else:
        visible = {p.name for p in repository.iterdir() if not p.name.startswith(".")} - MADE_BY_TOOLS
    assert visible == TOP


def loaded_by(code: str) -> set[str]:
    """Top-level modules in memory after running this code in a fresh interpreter."""
    report = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-P", "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


HEAVY = {
    "numpy",
    "jinja2",
    "regex",
    "rich",
    "psutil",
    "asyncio",
    "numba",
    "textual",
    "huggingface_hub",
    "pydantic",
    "tqdm",
    "tomlkit",
    "starlette",
    "uvicorn",
    "httpx2",
    "filelock",
    "llguidance",
}


def test_importing_edgeinfer_loads_nothing_heavy() -> None:
    assert loaded_by("import edgeinfer") & {*HEAVY, "click"} == set()


def test_reading_what_is_set_loads_nothing_heavy() -> None:
    code = "from edgeinfer.config.sources import read_settings\nread_settings()"
    assert loaded_by(code) & {*HEAVY, "click"} == set()


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_looking_at_the_command_line_loads_nothing_heavy(option: str) -> None:
    code = f"""
import contextlib
from edgeinfer.cli.main import main
with contextlib.suppress(SystemExit):
    main([{option!r}])
"""
    assert loaded_by(code) & HEAVY == set()


def test_the_prompt_of_the_chat_waits_for_no_numbers_and_no_markdown() -> None:
    needless = {
        "numpy",
        "markdown_it",
        "linkify_it",
        "huggingface_hub",
        "httpx2",
        "pydantic",
        "jinja2",
        "llguidance",
    }
    assert loaded_by("import edgeinfer.tui.app") & needless == set()


NETWORK = {"huggingface_hub", "httpx2", "httpx", "requests", "urllib3", "aiohttp", "urllib.request"}


def test_one_module_fetches_from_the_network(repository: Path) -> None:
    """Another asks a server that a person named, or that of this machine; `bench.stream_peers` one that it
    started on this machine, by http.client.
    """
    reaching = set()
    for module, path in modules(repository).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name == n or name.startswith(f"{n}.") for name in names for n in NETWORK):
                reaching.add(module)
    assert reaching == {"hub.network", "remote.server"}


def test_no_file_carries_a_path_of_somebodys_machine(repository: Path) -> None:
    suspicious = [f"/{folder}/" for folder in ("home", "Users", "work", "root")]
    for folder in ("edgeinfer", "models", "native", "packaging", "tests"):
        for path in (repository / folder).rglob("*"):
            if path.suffix in {".py", ".h", ".cpp", ".inc", ".txt", ".md", ".toml"}:
                text = path.read_text(encoding="utf-8", errors="replace")
                lines = [line for line in text.split("\n") if any(s in f" {line}" for s in suspicious)]
                assert lines == [], f"{path}"
