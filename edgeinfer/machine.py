"""What this machine offers: processor cores worth using, and memory that is really free.

Linux answers come from /proc, /sys and cgroups (containers see the host's memory otherwise); psutil
answers elsewhere, imported only then.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

_SYS_CPU = Path("sys/devices/system/cpu")
_CGROUP = Path("sys/fs/cgroup")
_FEATURES = {
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "amx_int8"),
    *("avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
}
_BACKGROUND = 10  # niceness of `nice`


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory, within the limits of the container."""

    total: int
    available: int  # without pushing others out


@dataclass(frozen=True)
class Cores:
    """Physical cores that we may run on."""

    performance: int
    efficiency: int  # slower ones; 0 where the system does not tell them apart
    quota: int | None  # whole cores that the container lets us use; None: all


def cores(root: Path = Path("/")) -> Cores:
    """Which there are."""
    allowed, quota = _allowed_cpus(), _cpu_quota(root)
    if sys.platform != "linux":
        return Cores(_psutil_cores(len(allowed)), 0, quota)
    fast = _parse_cpu_list(_read(root / "sys/devices/cpu_core/cpus")) & allowed or allowed  # hybrid Intel
    performance = {_core_of(root, cpu) for cpu in _fastest(root, fast)}
    return Cores(len(performance), len({_core_of(root, cpu) for cpu in allowed} - performance), quota)


def n_threads(root: Path = Path("/")) -> int:
    """How many threads a computation should use: the performance cores, as far as we may."""
    found = cores(root)
    return max(1, found.performance if found.quota is None else min(found.performance, found.quota))


def memory(root: Path = Path("/")) -> Memory:
    """How much memory there is."""
    info = _meminfo(root)
    if info is None:
        import psutil

        found = psutil.virtual_memory()
        return Memory(found.total, found.available)
    total, available = info
    limit, used = _cgroup_memory(root)
    if limit is not None and limit < total:
        return Memory(limit, max(0, min(available, limit - used)))
    return Memory(total, available)


def resident_bytes(root: Path = Path("/")) -> int:
    """Main memory that this process has."""
    pages = _read(root / "proc/self/statm").split()
    if len(pages) > 1:
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
    import psutil

    return int(psutil.Process().memory_info().rss)


def processor(root: Path = Path("/")) -> str:
    """What its maker calls it."""
    lines = (line.partition(":") for line in _read(root / "proc/cpuinfo").splitlines())
    named = (value.strip() for key, _, value in lines if key.strip() in ("model name", "Model"))
    return next(named, "") or platform.processor() or platform.machine()


def processor_features(root: Path = Path("/")) -> list[str]:
    """Of the instructions that kernels like ours live on, those that it has, as Linux names them."""
    lines = (line.partition(":") for line in _read(root / "proc/cpuinfo").splitlines())
    flags = (value.split() for key, _, value in lines if key.strip() in ("flags", "Features"))
    return sorted(_FEATURES & set(next(flags, [])))


def lower_priority() -> None:
    """Let other processes go first, from here on and in all threads that start later."""
    import psutil

    process = psutil.Process()
    process.nice(max(process.nice(), _BACKGROUND))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _parse_cpu_list(text: str) -> set[int]:
    """The kernel's notation: "0-3,8,10-11"."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def _fastest(root: Path, cpus: set[int]) -> set[int]:
    """Without the small cores of big.LITTLE systems, as `cpu_capacity` (0..1024) tells them."""
    capacity = {cpu: int(_read(root / _SYS_CPU / f"cpu{cpu}/cpu_capacity") or 0) for cpu in cpus}
    most = max(capacity.values())
    return {cpu for cpu in cpus if capacity[cpu] * 2 > most} if most else cpus


def _core_of(root: Path, cpu: int) -> str:
    """Equal for the hardware threads of one core."""
    return _read(root / _SYS_CPU / f"cpu{cpu}/topology/thread_siblings_list").strip() or str(cpu)


def _cpu_quota(root: Path) -> int | None:
    """Whole cores that the cgroup lets us use (cpu.max: "quota period"), rounded up."""
    quota, _, period = _read(root / _CGROUP / "cpu.max").strip().partition(" ")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return max(1, -(-int(quota) // int(period)))


def _psutil_cores(fallback: int) -> int:
    import psutil

    return psutil.cpu_count(logical=False) or fallback


def _meminfo(root: Path) -> tuple[int, int] | None:
    """(total, available) bytes of /proc/meminfo."""
    lines = dict(line.split(":", 1) for line in _read(root / "proc/meminfo").splitlines() if ":" in line)
    try:
        total, available = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (KeyError, IndexError, ValueError):
        return None
    return total, available


def _cgroup_memory(root: Path) -> tuple[int | None, int]:
    """(limit, bytes in use that cannot be dropped) of the cgroup, version 2 or 1."""
    for limit_file, used_file, inactive in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _read(root / _CGROUP / limit_file).strip()
        if limit.isdigit():
            folder = (root / _CGROUP / limit_file).parent
            used = int(_read(root / _CGROUP / used_file).strip() or 0)
            stat = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
            return int(limit), max(0, used - int(stat.get(inactive, 0)))
    return None, 0
