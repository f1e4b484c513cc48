"""Public names that are imported when they are first used, so that importing their package is quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def attach(
    namespace: dict[str, Any], homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of the package with that namespace (its `globals()`).

    `homes` says in which module each name is; a submodule that has nothing of its own name stands for itself.
    """
    package: str = namespace["__name__"]

    def __getattr__(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(home)
        itself = (module,) if home == f"{package}.{name}" else ()
        value = namespace[name] = getattr(module, name, *itself)
        return value

    def __dir__() -> list[str]:
        kept = (name for name, value in namespace.items() if name.startswith("__") or isinstance(value, ModuleType))
        return sorted({*kept, *homes})

    return __getattr__, __dir__, list(homes)
