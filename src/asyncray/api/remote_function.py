"""`RemoteFunction`: what `@remote` makes of a function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

from asyncray.api.connection import require_runtime
from asyncray.api.options import TaskOptions
from asyncray.worker.functions import FunctionSource
from asyncray.worker.runtime import Runtime
from asyncray.worker.task import Template


class RemoteFunction:
    """A function whose calls run on the cluster: `f.remote(...)` returns an `ObjectRef` at once."""

    def __init__(
        self, function: Callable[..., Any], options: TaskOptions, source: FunctionSource | None = None
    ) -> None:
        self._function = function
        self._source = source or FunctionSource(function)
        self._options = options
        self._bound: tuple[Runtime, Template] | None = None
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = self._function.__name__
        raise TypeError(f"{name}() is a remote function: call {name}.remote(...), or {name}.function(...) here")

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself, to be called in this process."""
        return self._function

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submits a call. Returns an ObjectRef; a list of them when `num_returns` is not 1.

        An ObjectRef as an argument stands for its value; inside of containers it is passed as it is.
        Raises SerializationError when an argument cannot be pickled.
        """
        bound = self._bound
        runtime = require_runtime()
        if bound is None or bound[0] is not runtime:
            bound = self._bind(runtime)
        return runtime.outgoing.task(bound[1], args, kwargs)

    def options(self, **options: Any) -> RemoteFunction:
        """The same function with other options."""
        return RemoteFunction(self._function, self._options.updated(options), self._source)

    def _bind(self, runtime: Runtime) -> tuple[Runtime, Template]:
        options = self._options
        template = runtime.functions.template(
            self._source.exported(runtime),
            options.name or self._function.__qualname__,
            options.num_returns,
            demand=options.demand(),
            max_retries=options.max_retries,
        )
        self._bound = (runtime, template)
        return self._bound

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bound": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"<remote function {self._function.__qualname__}>"
