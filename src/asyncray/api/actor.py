"""Remote classes, and the handles of their instances."""

from __future__ import annotations

import inspect
from typing import Any, NoReturn

from asyncray.api.connection import require_runtime
from asyncray.api.options import ActorOptions, MethodOptions
from asyncray.resources import to_amounts
from asyncray.worker.actor_client import method_template
from asyncray.worker.functions import FunctionSource
from asyncray.worker.object_ref import ObjectRef
from asyncray.worker.runtime import Runtime
from asyncray.worker.task import Template

METHOD_OPTIONS_ATTRIBUTE = "__asyncray_method_options__"
"""Where `@method(...)` leaves its options on a function."""

Methods = dict[str, int]
"""Names of the public methods, with their `num_returns`."""


class ActorClass:
    """A class whose instances live in processes of their own: `C.remote(...)` returns a handle at once."""

    def __init__(self, cls: type, options: ActorOptions, source: FunctionSource | None = None) -> None:
        self._class = cls
        self._options = options
        self._source = source or FunctionSource(cls)
        self.__doc__ = cls.__doc__
        self.__name__ = cls.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = self._class.__name__
        raise TypeError(f"{name} is a remote class: create an actor with {name}.remote(...)")

    def options(self, **options: Any) -> ActorClass:
        """The same class with other options."""
        return ActorClass(self._class, self._options.updated(options), self._source)

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Starts an actor. It lives until the last handle of it is gone, or `kill`.

        When its constructor raises, every call raises ActorDiedError with the remote traceback.
        """
        from asyncray.proto import ActorSpec

        runtime = require_runtime()
        class_id = self._source.exported(runtime)
        template = Template(0, class_id, f"{self._class.__name__}.__init__", 1)
        specification = ActorSpec(
            job_id=runtime.job_id or b"",
            class_id=class_id,
            class_name=self._class.__name__,
            owner=runtime.process_id,
            placement=to_amounts(self._options.placement()),
            resources=to_amounts(self._options.demand()),
            max_concurrency=self._options.max_concurrency or 0,
            namespace=runtime.job.get("namespace", ""),
        )
        lifetime = runtime.outgoing.actor(specification, template, args, kwargs)
        return ActorHandle(specification.actor_id, self._class.__name__, _methods_of(self._class), lifetime)

    def __repr__(self) -> str:
        return f"<remote class {self._class.__qualname__}>"


class ActorHandle:
    """Calls an actor: `handle.method.remote(...)` returns an ObjectRef at once.

    Calls of one driver, task or actor run in the order in which it submits them. Handles can be passed to tasks and
    actors.
    """

    def __init__(self, actor_id: bytes, class_name: str, methods: Methods, lifetime: ObjectRef) -> None:
        self._actor_id = actor_id
        self._class_name = class_name
        self._methods = methods
        self._lifetime = lifetime

    def __getattr__(self, name: str) -> ActorMethod:
        if name not in self.__dict__.get("_methods", {}):
            known = ", ".join(sorted(self.__dict__.get("_methods", {}))) or "none"
            raise AttributeError(f"actor {self.__dict__.get('_class_name')} has no method {name!r}; it has: {known}")
        method = ActorMethod(self._actor_id, name, self._methods[name], self._lifetime)
        self.__dict__[name] = method  # found without __getattr__ from now on; it refers to no handle, so no cycle
        return method

    def __reduce__(self) -> Any:
        return ActorHandle, (self._actor_id, self._class_name, self._methods, self._lifetime)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and other._actor_id == self._actor_id

    def __hash__(self) -> int:
        return hash(self._actor_id)

    def __repr__(self) -> str:
        return f"Actor({self._class_name}, {self._actor_id.hex()})"


class ActorMethod:
    """One method of one actor."""

    __slots__ = ("_actor_id", "_bound", "_lifetime", "_name", "_num_returns")

    def __init__(self, actor_id: bytes, name: str, num_returns: int, lifetime: ObjectRef) -> None:
        self._actor_id = actor_id
        self._name = name
        self._num_returns = num_returns
        self._lifetime = lifetime
        self._bound: tuple[Runtime, Template] | None = None

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submits a call. Returns an ObjectRef; a list of them when `num_returns` is not 1."""
        bound = self._bound
        self._lifetime.check_open()
        runtime = require_runtime()
        if bound is None or bound[0] is not runtime:
            template = method_template(runtime, self._actor_id, self._name, self._num_returns)
            bound = self._bound = (runtime, template)
        return runtime.outgoing.method(self._lifetime, bound[1], args, kwargs)

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options."""
        return ActorMethod(self._actor_id, self._name, MethodOptions.of(options).num_returns, self._lifetime)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"actor methods are called with .{self._name}.remote(...)")


def _methods_of(cls: type) -> Methods:
    methods: Methods = {}
    for name, member in inspect.getmembers(cls):
        if name.startswith("__") and name != "__call__":
            continue
        if callable(member):
            methods[name] = getattr(member, METHOD_OPTIONS_ATTRIBUTE, {}).get("num_returns", 1)
    return methods
