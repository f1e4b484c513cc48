"""The default totals of a node, and amounts that its machine has not."""

from __future__ import annotations

from typing import Any

import pytest

from asyncray.errors import AsyncrayError
from asyncray.host_memory import ProcessMemory, Usage
from asyncray.node.machine import detect_resources
from asyncray.resources import UNITS

GIB = 1 << 30


class Host:
    def __init__(self, *usages: Usage) -> None:
        self._usages = list(usages)

    def usages(self) -> list[Usage]:
        return self._usages

    def processes(self) -> list[ProcessMemory]:
        return []


def detect(host: Host, *, memory: int | None = None, store: int | None = None, **options: Any) -> tuple[int, int]:
    """(memory, object_store_memory) in bytes."""
    options = {"store_on_disk": False, "warn": lambda text: pytest.fail(text), **options}
    found = detect_resources(1, 0, memory, store, {}, host=host, **options)
    return found.get("memory", 0) // UNITS, found["object_store_memory"] // UNITS


def test_the_object_store_gets_three_tenths_of_the_memory_and_tasks_the_rest() -> None:
    assert detect(Host(Usage(1 * GIB, 10 * GIB))) == (7 * GIB, 3 * GIB)


def test_in_a_container_its_limit_is_what_there_is() -> None:
    assert detect(Host(Usage(60 * GIB, 64 * GIB), Usage(0, 10 * GIB)))[1] == 3 * GIB


def test_no_more_than_what_is_free_by_default() -> None:
    assert detect(Host(Usage(9 * GIB, 10 * GIB)))[1] == GIB


def test_what_the_user_asks_for_is_taken() -> None:
    assert detect(Host(Usage(0, 10 * GIB)), store=5 * GIB) == (5 * GIB, 5 * GIB)


def test_more_than_the_machine_has_is_refused_with_the_sizes() -> None:
    host = Host(Usage(GIB, 10 * GIB))
    with pytest.raises(
        AsyncrayError, match=f"is {11 * GIB} bytes, and this machine .* has {10 * GIB}, of which {9 * GIB}"
    ):
        detect(host, store=11 * GIB)
    assert detect(host, store=11 * GIB, store_on_disk=True) == (0, 11 * GIB)


def test_more_than_is_free_is_taken_with_a_warning_that_says_the_sizes() -> None:
    warnings: list[str] = []
    assert detect(Host(Usage(6 * GIB, 10 * GIB)), store=5 * GIB, warn=warnings.append)[1] == 5 * GIB
    [warning] = warnings
    assert all(str(size) in warning for size in (5 * GIB, 10 * GIB, 4 * GIB))
