"""Instructions that the matrix kernels execute per 256 weights and column, ours and ggml's, by an emulator.

    python native/tests/count_instructions.py BUILD [--ggml NAME=BUILD ...] [--mix TARGET/TYPE/KERNEL]

BUILD is a static cross build for aarch64 with -DEDGEINFER_NATIVE_TESTS=ON (native/README.md); the builds of
ggml are static ones of its target ggml-cpu with the instructions that NAME tells (dotprod, i8mm). A program
calls a kernel once, then twice, in single-step mode: the difference of the two traces is one call, with
everything that it does: unpacking, reductions, float steps, stores. `--mix` lists mnemonics of one of ours.
"""

from __future__ import annotations

import argparse
import collections
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

TARGETS = ("neon", "neon_dotprod", "neon_i8mm")
TYPES = ("Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q4_0", "F16")
EMULATOR = "qemu-aarch64-static"
COMPILER = "aarch64-linux-gnu-g++"
DISASSEMBLER = "aarch64-linux-gnu-objdump"
TRACE = re.compile(rb"^Trace [^[]*\[[0-9a-f]+/([0-9a-f]+)/", re.MULTILINE)


@dataclass(frozen=True)
class Shape:
    """A kernel's name, and the depth, rows and columns of what one call multiplies."""

    name: str
    depth: int
    rows: int
    columns: int

    @property
    def units(self) -> float:
        """How many times 256 weights meet a column in one call."""
        return self.depth / 256 * self.rows * self.columns


DIRECT = Shape("direct", 2048, 8, 1)
PREFILL = Shape("prefill", 512, 32, 64)

# ggml's dot products, which read the weights as they are in the file, and its products of repacked weights.
GGML_DOT = {
    "Q4_K": "ggml_vec_dot_q4_K_q8_K",
    "Q5_K": "ggml_vec_dot_q5_K_q8_K",
    "Q6_K": "ggml_vec_dot_q6_K_q8_K",
    "Q8_0": "ggml_vec_dot_q8_0_q8_0",
    "Q4_0": "ggml_vec_dot_q4_0_q8_0",
    "F16": "ggml_vec_dot_f16",
}
GGML_REPACKED = {
    "dotprod": {"Q4_K": "q4_K_8x4_q8_K", "Q5_K": "q5_K_8x4_q8_K", "Q6_K": "q6_K_8x4_q8_K"}
    | {"Q8_0": "q8_0_4x4_q8_0", "Q4_0": "q4_0_4x4_q8_0"},
    "i8mm": {"Q4_K": "q4_K_8x8_q8_K", "Q5_K": "q5_K_8x8_q8_K", "Q6_K": "q6_K_8x8_q8_K"}
    | {"Q8_0": "q8_0_4x8_q8_0", "Q4_0": "q4_0_4x8_q8_0"},
}
GGML_SHAPES = {DIRECT: "gemv", PREFILL: "gemm"}


def main() -> None:
    """Print the tables, or one mix."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("build", type=Path)
    parser.add_argument("--ggml", action="append", default=[], metavar="NAME=BUILD")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--mix", metavar="TARGET/TYPE/KERNEL")
    arguments = parser.parse_args()
    program = arguments.build / "run_kernel"
    if arguments.mix:
        print_mix(program, *arguments.mix.split("/"))
        return
    types = arguments.types.split(",")
    counts = {target: count_ours(program, target, types) for target in TARGETS}
    for pair in arguments.ggml:
        name, build = pair.split("=", 1)
        repacked = GGML_REPACKED[name]
        counts[f"ggml {name}"] = count_ggml(Path(build), {DIRECT: GGML_DOT}, types)
        kernels = {shape: prefixed(f"ggml_{kind}_", repacked) for shape, kind in GGML_SHAPES.items()}
        counts[f"ggml {name}, repacked"] = count_ggml(Path(build), kernels, types)
    print_table(counts, types)


def print_table(counts: dict[str, dict[tuple[str, str], float]], types: list[str]) -> None:
    """One Markdown table: a row per kernels' origin, a column per type, direct / prefill in each cell."""
    print("| direct / prefill |", " | ".join(types), "|")
    print("|---|" + "---|" * len(types))
    for name, found in counts.items():
        cells = (" / ".join(figure(found.get((t, s.name))) for s in (DIRECT, PREFILL)) for t in types)
        print(f"| {name} |", " | ".join(cells), "|")


def figure(count: float | None) -> str:
    """A count for a table, or a dash."""
    return "-" if count is None else f"{count:.1f}"


def count_ours(program: Path, target: str, types: list[str]) -> dict[tuple[str, str], float]:
    """Instructions per 256 weights and column of each type and kernel of a target."""
    return {
        (kind, shape.name): sum(one_call(ours(program, target, kind, shape)).values()) / shape.units
        for kind in types
        for shape in (DIRECT, PREFILL)
    }


def ours(program: Path, target: str, kind: str, shape: Shape) -> list[str]:
    """The command that runs one of our kernels; the number of calls is to be appended."""
    return [str(program), target, kind, shape.name, str(shape.depth), str(shape.rows), str(shape.columns)]


def count_ggml(
    build: Path, kernels: dict[Shape, dict[str, str]], types: list[str]
) -> dict[tuple[str, str], float]:
    """The same for some functions of a build of ggml, named per shape and type."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for shape, names in kernels.items():
            for kind in types:
                if kind in names:
                    program = compile_ggml(build, names[kind], Path(folder))
                    command = [str(program), str(shape.depth), str(shape.rows), str(shape.columns)]
                    found[kind, shape.name] = sum(one_call(command).values()) / shape.units
    return found


def prefixed(prefix: str, names: dict[str, str]) -> dict[str, str]:
    """The same names with a prefix."""
    return {kind: prefix + name for kind, name in names.items()}


def compile_ggml(build: Path, kernel: str, folder: Path) -> Path:
    """run_ggml_kernel.cpp for one kernel, linked with the libraries of a build."""
    program = folder / kernel
    source = Path(__file__).with_name("run_ggml_kernel.cpp")
    libraries = [str(next(build.rglob(f"lib{name}.a"))) for name in ("ggml-cpu", "ggml-base", "ggml-cpu")]
    defines = [f"-DGGML_KERNEL={kernel}", f"-DGGML_REPACKED={int('vec_dot' not in kernel)}"]
    run([COMPILER, "-static", "-O2", "-pthread", *defines, str(source), "-o", str(program), *libraries])
    return program


def one_call(command: list[str]) -> collections.Counter[int]:
    """How often each address executes in one call of a kernel."""
    twice = trace([*command, "2"])
    twice.subtract(trace([*command, "1"]))
    return twice


def trace(command: list[str]) -> collections.Counter[int]:
    """How often each address executes while a program runs, one instruction to a translation block."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "trace"
        # From QEMU 8.1 on the option has another name.
        step = "-one-insn-per-tb" if "-one-insn-per-tb" in run([EMULATOR, "-help"]) else "-singlestep"
        run([EMULATOR, "-cpu", "max", step, "-d", "exec,nochain", "-D", str(log), *command])
        return collections.Counter(int(address, 16) for address in TRACE.findall(log.read_bytes()))


def print_mix(program: Path, target: str, kind: str, kernel: str) -> None:
    """Mnemonics by how often they execute per 256 weights and column."""
    shape = DIRECT if kernel == "direct" else PREFILL
    mnemonics = disassemble(program)
    mix: collections.Counter[str] = collections.Counter()
    for address, count in one_call(ours(program, target, kind, shape)).items():
        mix[mnemonics[address]] += count
    for mnemonic, count in mix.most_common():
        if count > 0:  # the rest is the programs' start
            print(f"{count / shape.units:8.2f} {mnemonic}")
    print(f"{sum(mix.values()) / shape.units:8.2f} all")


def disassemble(program: Path) -> dict[int, str]:
    """The mnemonic, with the first operand's vector shape, at each address of a static program."""
    found = {}
    for line in run([DISASSEMBLER, "-d", str(program)]).splitlines():
        parts = line.split("\t")
        if len(parts) >= 3 and parts[0].endswith(":"):
            shape = re.search(r"v\d+(\.\w+)", parts[3].split(",")[0]) if len(parts) > 3 else None
            found[int(parts[0][:-1], 16)] = parts[2] + (shape.group(1) if shape else "")
    return found


def run(command: list[str]) -> str:
    """The standard output of a command; ends the program with its message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
