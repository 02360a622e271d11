"""Cores and memory, read from made-up systems."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeinfer import machine


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_allowed_cpus", lambda: set(range(8)))
    monkeypatch.setattr("sys.platform", "linux")


def threads_of_cores(root: Path, *cores: str) -> None:
    for core in cores:
        for cpu in machine._parse_cpu_list(core):
            put(root, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", core + "\n")


@pytest.mark.usefixtures("eight_cpus")
def test_hardware_threads_of_a_core_count_once(tmp_path: Path) -> None:
    threads_of_cores(tmp_path, "0,4", "1,5", "2,6", "3,7")
    assert machine.n_threads(tmp_path) == 4


@pytest.mark.usefixtures("eight_cpus")
def test_efficiency_cores_of_hybrid_processors_do_not_count(tmp_path: Path) -> None:
    threads_of_cores(tmp_path, "0-1", "2-3", "4", "5", "6", "7")
    put(tmp_path, "sys/devices/cpu_core/cpus", "0-3\n")
    assert machine.n_threads(tmp_path) == 2


@pytest.mark.usefixtures("eight_cpus")
def test_little_cores_do_not_count(tmp_path: Path) -> None:
    for cpu in range(8):
        put(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity", "1024" if cpu >= 5 else "446")
    assert machine.n_threads(tmp_path) == 3


@pytest.mark.usefixtures("eight_cpus")
def test_a_container_quota_limits_the_threads(tmp_path: Path) -> None:
    put(tmp_path, "sys/fs/cgroup/cpu.max", "250000 100000\n")
    assert machine.n_threads(tmp_path) == 3
    put(tmp_path, "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert machine.n_threads(tmp_path) == 8


def test_memory_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    put(tmp_path, "proc/meminfo", "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 600 kB\n")
    assert machine.memory(tmp_path) == machine.Memory(1000 * 1024, 600 * 1024)


def test_memory_of_a_container_is_what_its_limit_leaves(tmp_path: Path) -> None:
    put(tmp_path, "proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 900 kB\n")
    put(tmp_path, "sys/fs/cgroup/memory.max", str(500 * 1024))
    put(tmp_path, "sys/fs/cgroup/memory.current", str(300 * 1024))
    put(tmp_path, "sys/fs/cgroup/memory.stat", f"anon 1\ninactive_file {100 * 1024}\n")
    assert machine.memory(tmp_path) == machine.Memory(500 * 1024, 300 * 1024)


def test_this_machine_has_cores_and_memory() -> None:
    assert machine.n_threads() >= 1
    assert 0 < machine.memory().available <= machine.memory().total


def test_the_processor_is_named_with_what_it_can(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "processor : 0\nmodel name : Fast 9000\nflags : fpu avx2 fma avx512_vnni\n")
    assert machine.processor(tmp_path) == "Fast 9000"
    assert machine.processor_features(tmp_path) == ["avx2", "avx512_vnni", "fma"]
    put(tmp_path, "proc/cpuinfo", "processor : 0\nFeatures : fp asimd asimddp\n")
    assert machine.processor_features(tmp_path) == ["asimd", "asimddp"]
    assert machine.processor(tmp_path)


@pytest.mark.usefixtures("eight_cpus")
def test_slower_cores_are_told_apart(tmp_path: Path) -> None:
    threads_of_cores(tmp_path, "0-1", "2-3", "4", "5", "6", "7")
    put(tmp_path, "sys/devices/cpu_core/cpus", "0-3\n")
    assert machine.cores(tmp_path) == machine.Cores(2, 4, None)
