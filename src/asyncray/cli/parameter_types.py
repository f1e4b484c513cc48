"""What options of the commands accept, beyond words and numbers."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import click

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?(b?)", re.IGNORECASE)
_POWERS: Final = {"k": 1, "m": 2, "g": 3, "t": 4}


class Size(click.ParamType[int]):
    """An amount of memory in bytes: `1000000`, `512MB`, `2GiB`, `1.5G`."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is not an amount of memory: expected 512MB, 2GiB, or a number of bytes", param, ctx)
        number, unit, binary, _ = match.groups()
        factor = (1024 if binary else 1000) ** _POWERS[unit.lower()] if unit else 1
        return int(float(number) * factor)


class ResourceAmounts(click.ParamType[dict[str, float]]):
    """A JSON object of amounts by name: `{"disk": 2, "licence": 0.5}`."""

    name = "json"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        try:
            amounts = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            amounts = None
        if not isinstance(amounts, dict):
            self.fail(f"{value!r} is not a JSON object of amounts by name, as in '{{\"disk\": 2}}'", param, ctx)
        for name, amount in amounts.items():
            if isinstance(amount, bool) or not isinstance(amount, (int, float)) or amount < 0:
                self.fail(f"the amount of {name!r} must be a number that is not negative, got {amount!r}", param, ctx)
        return {name: float(amount) for name, amount in amounts.items()}


class Labels(click.ParamType[dict[str, str]]):
    """`KEY=VALUE`, or several of them with commas in between."""

    name = "labels"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        if isinstance(value, dict):
            return value
        labels = {}
        for entry in value.split(","):
            key, equals, label = entry.strip().partition("=")
            if not key or not equals:
                self.fail(f"{entry!r} is not KEY=VALUE", param, ctx)
            labels[key] = label
        return labels


class Address(click.ParamType[str]):
    """`HOST:PORT` of a cluster's control plane; where it may be, `auto` for the cluster that runs here."""

    name = "address"

    def __init__(self, *, auto: bool = False) -> None:
        self._auto = auto

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if self._auto and value == "auto":
            return "auto"
        host, _, port = str(value).rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return str(value)
