"""Calls as scenarios write them: `add(1, b, [c], key="x")`. Names stand for what the driver holds under them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asyncray.simulation.scenario.errors import ScenarioError

_SIZE = re.compile(r"(\d+) (KiB|MiB)")
_FACTORS = {"KiB": 1 << 10, "MiB": 1 << 20}
ValueOf = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class CallText:
    """`function(...)`, or `actor.method(...)`."""

    target: str
    """The actor; empty for a function."""
    name: str
    node: ast.Call

    def arguments(self, value_of: ValueOf) -> tuple[list[Any], dict[str, Any]]:
        """Positional and named ones."""
        args = [_value(argument, value_of) for argument in self.node.args]
        return args, {str(entry.arg): _value(entry.value, value_of) for entry in self.node.keywords}


def read_call(text: str) -> CallText:
    """Raises ScenarioError."""
    node = _parse(text)
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return CallText("", name, node)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=target), attr=name)):
            return CallText(target, name, node)
    raise ScenarioError(f"{text!r} is no call: write function(...) or actor.method(...)")


def read_value(text: str) -> Callable[[ValueOf], Any]:
    """What makes a value: a literal, names and lists of them; `300 KiB` and `2 MiB` are that many bytes.

    Raises ScenarioError.
    """
    if (match := _SIZE.fullmatch(text)) is not None:
        count = int(match[1]) * _FACTORS[match[2]]
        return lambda value_of: bytes(count)
    node = _parse(text)
    return lambda value_of: _value(node, value_of)


def read_options(text: str) -> dict[str, Any]:
    """`cpus=2 retries=0`. Raises ScenarioError."""
    options: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        options[name] = _literal(_parse(value))
    return options


def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ScenarioError(f"{text!r} cannot be read: {error.msg}") from None


def _value(node: ast.expr, value_of: ValueOf) -> Any:
    match node:
        case ast.Name(id=name):
            return value_of(name)
        case ast.List(elts=items):
            return [_value(item, value_of) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_literal(key): _value(value, value_of) for key, value in zip(keys, values, strict=True) if key}
    return _literal(node)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ScenarioError(f"{ast.unparse(node)!r} is neither a literal, a name nor a list") from None
