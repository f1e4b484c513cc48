"""What is read of a machine's memory, and of the limits of containers around us."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from asyncray.host_memory import LocalMemory, Usage

GIB = 1 << 30
MACHINE = Usage(used=4 * GIB, total=64 * GIB)


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def memory_of(tmp_path: Path, groups: str) -> LocalMemory:
    write(tmp_path / "proc" / "self", cgroup=groups)
    return LocalMemory(tmp_path / "proc", tmp_path / "sys", lambda: MACHINE)


def second_version(tmp_path: Path, path: str, limit: object, current: int, cache: int = 0) -> None:
    stat = f"anon {current - cache}\ninactive_file {cache // 2}\nactive_file {cache - cache // 2}"
    write(tmp_path / "sys" / path, memory__max=limit, memory__current=current, memory__stat=stat)


def test_this_machine_has_memory_and_uses_some() -> None:
    usage = LocalMemory().usages()[0]
    assert 0 < usage.used < usage.total <= psutil.virtual_memory().total
    assert usage.free == usage.total - usage.used


def test_a_process_is_charged_what_it_alone_uses() -> None:
    block = bytearray(b"x" * (64 << 20))
    own = next(process for process in LocalMemory().processes() if process.pid == os.getpid())
    assert len(block) <= own.size < psutil.Process().memory_info().rss
    assert own.command == psutil.Process().name()[:15]


def test_the_largest_process_comes_first() -> None:
    sizes = [process.size for process in LocalMemory().processes()]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) > 1


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert LocalMemory(tmp_path, tmp_path, lambda: MACHINE).usages() == [MACHINE]


def test_a_group_of_version_2_limits_memory_and_its_file_cache_is_free(tmp_path: Path) -> None:
    second_version(tmp_path, "job", 2 * GIB, GIB + 500, cache=500)
    assert memory_of(tmp_path, "0::/job").usages() == [MACHINE, Usage(GIB, 2 * GIB)]


def test_a_group_around_ours_limits_us_too(tmp_path: Path) -> None:
    second_version(tmp_path, "slice", 2 * GIB, GIB)
    second_version(tmp_path, "slice/job", "max", 10)
    assert memory_of(tmp_path, "0::/slice/job").usages() == [MACHINE, Usage(GIB, 2 * GIB)]


def test_each_of_several_limits_is_seen(tmp_path: Path) -> None:
    second_version(tmp_path, "slice", 8 * GIB, 7 * GIB)
    second_version(tmp_path, "slice/job", 2 * GIB, GIB)
    assert memory_of(tmp_path, "0::/slice/job").usages() == [MACHINE, Usage(GIB, 2 * GIB), Usage(7 * GIB, 8 * GIB)]


def test_in_a_container_whose_path_is_the_hosts_the_mounted_root_is_ours(tmp_path: Path) -> None:
    second_version(tmp_path, "", 2 * GIB, GIB)
    assert memory_of(tmp_path, "0::/docker/0123").usages() == [MACHINE, Usage(GIB, 2 * GIB)]


def test_a_group_of_version_1_limits_memory(tmp_path: Path) -> None:
    write(
        tmp_path / "sys" / "memory" / "docker" / "0123",
        memory__limit_in_bytes=2 * GIB,
        memory__usage_in_bytes=GIB + 30,
        memory__stat="cache 30\ntotal_inactive_file 10\ntotal_active_file 20\ninactive_file 1",
    )
    groups = "5:cpu,cpuacct:/x\n4:memory:/docker/0123\n0::/"
    assert memory_of(tmp_path, groups).usages() == [MACHINE, Usage(GIB, 2 * GIB)]


@pytest.mark.parametrize("limit", ["max", 64 * GIB, 1 << 62])
def test_a_limit_beyond_the_machine_is_none(tmp_path: Path, limit: object) -> None:
    second_version(tmp_path, "job", limit, GIB)
    assert memory_of(tmp_path, "0::/job").usages() == [MACHINE]


def test_a_limit_that_is_set_later_is_seen(tmp_path: Path) -> None:
    second_version(tmp_path, "job", "max", GIB)
    memory = memory_of(tmp_path, "0::/job")
    assert memory.usages() == [MACHINE]
    second_version(tmp_path, "job", 2 * GIB, GIB)
    assert memory.usages() == [MACHINE, Usage(GIB, 2 * GIB)]
