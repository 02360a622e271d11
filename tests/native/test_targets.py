"""Proof about the compiled objects: no target leaks code into another, and Arm computes the same bits."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeinfer import _native

NATIVE = Path(__file__).parents[2] / "native"
CROSS_COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64-static"


def _build(folder: Path, target: str, *options: str) -> Path:
    configure = ["cmake", "-S", str(NATIVE), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release", *options]
    subprocess.run(configure, check=True, capture_output=True)
    jobs = str(min(4, os.cpu_count() or 1))
    subprocess.run(
        ["cmake", "--build", str(folder), "--target", target, "-j", jobs], check=True, capture_output=True
    )
    return folder / target


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("nm")), reason="cmake or nm is not installed")
def test_no_target_shares_a_function_with_another(tmp_path: Path) -> None:
    """A function outside its target's namespace would be kept once by the linker, for every processor."""
    _build(tmp_path, "edgeinfer_engine")
    objects = sorted(tmp_path.glob("CMakeFiles/kernels_*.dir/**/table.cpp.o"))
    assert objects
    for path in objects:
        target = (
            path.relative_to(tmp_path / "CMakeFiles").parts[0].removeprefix("kernels_").removesuffix(".dir")
        )
        symbols = subprocess.run(["nm", "-C", path], check=True, capture_output=True, text=True).stdout
        defined = [line.split(maxsplit=2) for line in symbols.splitlines() if not line.startswith(" " * 17)]
        shared = [name for _, kind, name in defined if kind in "VWu" and f"edgeinfer::{target}::" not in name]
        assert not shared, f"{path.name} of {target}: {shared}"


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which(CROSS_COMPILER) and shutil.which(EMULATOR) and shutil.which("cmake")),
    reason=f"needs {CROSS_COMPILER}, {EMULATOR} and cmake (Debian: g++-aarch64-linux-gnu, qemu-user-static)",
)
@pytest.mark.skipif(platform.machine() == "aarch64", reason="this machine runs the Arm targets itself")
def test_arm_targets_equal_the_portable_one_bit_for_bit(tmp_path: Path) -> None:
    program = _build(
        tmp_path,
        "compare_targets",
        "-DEDGEINFER_NATIVE_TESTS=ON",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={CROSS_COMPILER}",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
    )
    run = subprocess.run([EMULATOR, "-cpu", "max", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    for target in ("neon", "neon_dotprod", "neon_i8mm"):
        assert f"\n{target} " in run.stdout


def test_the_named_target_is_used_and_an_unknown_one_is_refused() -> None:
    code = "from edgeinfer import _native; print(_native.target())"
    for target in _native.targets():
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"EDGEINFER_TARGET": target},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == target
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"EDGEINFER_TARGET": "z80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "z80" in run.stderr
    assert "scalar" in run.stderr
