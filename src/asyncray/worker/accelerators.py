"""Which GPUs user code sees."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"


class VisibleDevices:
    """Sets `CUDA_VISIBLE_DEVICES` of this process for the GPUs that its lease has, and sets it back without any."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._environment = environment
        self._original = environment.get(_VARIABLE)

    def show(self, indices: list[int] | None) -> None:
        """`indices` count the devices that the node's own variable shows, if it has one."""
        if indices:
            devices = self._original.split(",") if self._original else None
            self._environment[_VARIABLE] = ",".join(
                devices[index].strip() if devices else str(index) for index in indices
            )
        elif self._original is None:
            self._environment.pop(_VARIABLE, None)
        else:
            self._environment[_VARIABLE] = self._original
