"""One command for developers: python packaging/dev.py setup | build | check | test.

setup   make .venv with everything, and an editable install whose C++ rebuilds incrementally
build   rebuild the C++ after a change (seconds, only what changed)
check   ruff, formatting, mypy, and clang-format where it is installed
test    build, then pytest; further arguments go to pytest

Needs only the standard library, so that it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TYPED = ROOT / "build" / "typed"
BUILD_TOOLS = ("scikit-build-core>=0.11", "nanobind>=2.4", "ninja", "cmake>=3.20")


def main() -> None:
    """Run the command named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("setup", "build", "check", "test"))
    arguments, rest = parser.parse_known_args()
    if rest and arguments.command != "test":
        parser.error(f"{arguments.command} takes no arguments")
    commands = {"setup": setup, "build": build, "check": check, "test": lambda: test(rest)}
    commands[arguments.command]()


def setup() -> None:
    """A virtual environment in .venv and an editable install in it."""
    if not VENV.is_dir():
        venv.create(VENV, with_pip=True)
    run(python(), "-m", "pip", "install", "-q", *BUILD_TOOLS)
    install("-e", ".[dev]")
    print("ready: source .venv/bin/activate")


def build() -> None:
    """Compile what has changed, with the settings of the editable install."""
    install("--no-deps", "-e", ".")


def check() -> None:
    """Everything that reads the code and does not run it."""
    run(python(), "-m", "ruff", "check", ".")
    run(python(), "-m", "ruff", "format", "--check", ".")
    check_types()
    check_cpp_format()


def test(arguments: list[str]) -> None:
    """All tests, on a fresh build."""
    build()
    run(python(), "-m", "pytest", *arguments)


def check_types() -> None:
    """mypy over the package as it is installed: models/ is edgeinfer.models, and _native has a stub.

    The stub is made from the built extension at every check, so that it cannot be out of date.
    """
    shutil.rmtree(TYPED, ignore_errors=True)
    package = TYPED / "edgeinfer"
    package.mkdir(parents=True)
    for item in (ROOT / "edgeinfer").iterdir():
        (package / item.name).symlink_to(item)
    (package / "models").symlink_to(ROOT / "models")
    stub = package / "_native.pyi"
    run(
        python(), "-m", "nanobind.stubgen", "-q", "-m", "edgeinfer._native", "-o", str(stub), cwd=TYPED.parent
    )
    run(python(), "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), cwd=TYPED)


def check_cpp_format() -> None:
    """clang-format, if there is a style file and the tool."""
    tool = shutil.which("clang-format", path=f"{python().parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if tool is None or not (ROOT / ".clang-format").is_file():
        print("clang-format: skipped")
        return
    sources = [p for p in (ROOT / "native").rglob("*") if p.suffix in (".cpp", ".h", ".inc")]
    run(tool, "--dry-run", "--Werror", *map(str, sorted(sources)))


def install(*what: str) -> None:
    """pip without build isolation: the build folder stays valid, so the next build is incremental."""
    run(python(), "-m", "pip", "install", "-q", "--no-build-isolation", *what)


def python() -> Path:
    """The interpreter of .venv, or the running one when it is inside a virtual environment."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.executable)
    return VENV / "bin" / "python"


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Show and run a command; end with its exit code if it fails."""
    print("+", *command, flush=True)
    code = subprocess.run([str(part) for part in command], cwd=cwd, check=False).returncode
    if code != 0:
        sys.exit(code)


if __name__ == "__main__":
    main()
