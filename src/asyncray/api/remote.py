"""The decorators."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from asyncray.api.actor import METHOD_OPTIONS_ATTRIBUTE, ActorClass
from asyncray.api.options import ActorOptions, MethodOptions, TaskOptions
from asyncray.api.remote_function import RemoteFunction

_F = TypeVar("_F", bound=Callable[..., Any])


def remote(*args: Any, **options: Any) -> Any:
    """Makes a function or a class remote: `@remote`, or `@remote(num_cpus=2, ...)`.

    Raises TypeError for an unknown option, ValueError for a value that makes no sense.
    """
    if len(args) == 1 and not options and callable(args[0]):
        return _make(args[0], {})
    if args:
        raise TypeError("@remote takes keyword options only, as in @remote(num_cpus=2), or none: @remote")
    return lambda target: _make(target, options)


def method(**options: Any) -> Callable[[_F], _F]:
    """Options of a method of a remote class: `@method(num_returns=2)`."""
    MethodOptions.of(options)

    def decorate(function: _F) -> _F:
        setattr(function, METHOD_OPTIONS_ATTRIBUTE, options)
        return function

    return decorate


def _make(target: Any, options: dict[str, Any]) -> RemoteFunction | ActorClass:
    if inspect.isclass(target):
        return ActorClass(target, ActorOptions.of(options))
    if inspect.isfunction(target) or inspect.isbuiltin(target):
        if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
            raise TypeError(f"{target.__name__}() is a generator: remote generators are not supported")
        return RemoteFunction(target, TaskOptions.of(options))
    raise TypeError(f"@remote takes a function or a class, got {type(target).__name__}: {target!r}")
