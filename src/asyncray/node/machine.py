"""What this machine has: the default totals of a node's resources."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Final

from asyncray.errors import AsyncrayError
from asyncray.host_memory import HostMemory
from asyncray.resources import Resources, to_units

_STORE_SHARE: Final = 0.3
"""Share of the machine's memory that the object store may grow to."""


def detect_resources(
    num_cpus: float | None,
    num_gpus: float | None,
    memory: int | None,
    object_store_memory: int | None,
    custom: Mapping[str, float],
    *,
    host: HostMemory,
    store_on_disk: bool,
    warn: Callable[[str], None],
) -> Resources:
    """Totals of a node, in units of 0.0001: what the user says, else what the machine has.

    In a container with a limit of its own, that is the memory there is. `store_on_disk`: the object store is not in
    memory, and not bounded by it.

    Raises AsyncrayError for amounts that make no sense.
    """
    usages = host.usages()
    total_memory, free = min(usage.total for usage in usages), min(usage.free for usage in usages)
    store = object_store_memory
    if store is None:
        store = min(int(total_memory * _STORE_SHARE), free)
    elif not store_on_disk:
        _check_store(store, total_memory, free, warn)
    amounts: dict[str, float] = {
        "CPU": num_cpus if num_cpus is not None else len(os.sched_getaffinity(0)),
        "GPU": num_gpus if num_gpus is not None else _count_gpus(),
        "memory": memory if memory is not None else max(0, total_memory - store),
        "object_store_memory": store,
    }
    for name, amount in custom.items():
        if name in amounts:
            raise AsyncrayError(f"resource {name!r} has an option of its own: do not repeat it in resources=")
        amounts[name] = amount
    try:
        return to_units(amounts)
    except ValueError as error:
        raise AsyncrayError(str(error)) from None


def _check_store(size: int, total: int, free: int, warn: Callable[[str], None]) -> None:
    sizes = (
        f"object_store_memory is {size} bytes, and this machine (or container) has {total}, of which {free} are free"
    )
    if size > total:
        raise AsyncrayError(f"{sizes}: ask for less, or put the store on disk with --arena-dir (ASYNCRAY_ARENA_DIR)")
    if size > free:
        warn(f"{sizes}. Its pages take memory once they are used: processes may be ended for it. Ask for less.")


def _count_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip()])
    if shutil.which("nvidia-smi") is None:
        return 0
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=5, check=False)
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
