"""Files of an external store, as fsspec reaches them: `s3://bucket/folder`, `memory://folder`, and many others."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from asyncray.errors import AsyncrayError
from asyncray.store.disk import Buffers, to_its_end, views_of

_T = TypeVar("_T")


class SpillStore(Protocol):
    """What spilling needs of a `Disk`."""

    async def write(self, path: str, buffers: Buffers) -> None: ...

    async def read_into(self, path: str, offset: int, buffer: bytearray | memoryview) -> int: ...

    async def remove(self, path: str) -> None: ...

    async def make_folder(self, path: str) -> None: ...

    async def names(self, folder: str) -> list[str]: ...


def is_external(path: str) -> bool:
    return "://" in path


def check_external(path: str) -> None:
    """Raises AsyncrayError when there is no store behind a URL."""
    try:
        _find(path)
    except ImportError as error:
        raise AsyncrayError(f"spilling to {path} needs the extra asyncray[fsspec]: {error}") from None
    except Exception as error:
        raise AsyncrayError(f"objects cannot be spilled to {path}: {error}") from error


class ExternalStore:
    """A `SpillStore`. Paths are URLs. An operation runs as a whole in a thread; whatever it raises is an OSError."""

    async def write(self, path: str, buffers: Buffers) -> None:
        await _run(_write, path, buffers)

    async def read_into(self, path: str, offset: int, buffer: bytearray | memoryview) -> int:
        return await _run(_read_into, path, offset, buffer)

    async def remove(self, path: str) -> None:
        await _run(_remove, path)

    async def make_folder(self, path: str) -> None:
        await _run(_make_folder, path)

    async def names(self, folder: str) -> list[str]:
        return await _run(_names, folder)


def _find(path: str) -> tuple[Any, str]:
    """The file system of a URL, and the name there."""
    from fsspec.core import url_to_fs  # an extra, and slow to import

    found: tuple[Any, str] = url_to_fs(path)
    return found


async def _run(function: Callable[..., _T], path: str, *args: Any) -> _T:
    def call() -> _T:
        try:
            return function(*_find(path), *args)
        except OSError:
            raise
        except Exception as error:  # each store has its own
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}", path) from error

    return await to_its_end(asyncio.to_thread(call))


def _write(files: Any, name: str, buffers: Buffers) -> None:
    with files.open(name, "wb") as file:
        for view in views_of(buffers):
            file.write(view)


def _read_into(files: Any, name: str, offset: int, buffer: bytearray | memoryview) -> int:
    view = memoryview(buffer)
    data = files.cat_file(name, start=offset, end=offset + view.nbytes)
    view[: len(data)] = data
    return len(data)


def _remove(files: Any, name: str) -> None:
    files.rm(name, recursive=files.isdir(name))


def _make_folder(files: Any, name: str) -> None:
    files.makedirs(name, exist_ok=True)


def _names(files: Any, name: str) -> list[str]:
    return sorted(found.rstrip("/").rpartition("/")[2] for found in files.ls(name, detail=False))
