"""Where a daemon's spilled objects go: a folder of its own in each directory that the user has named."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence

from asyncray.errors import AsyncrayError
from asyncray.store.external import check_external, is_external


def own_folders(directories: Sequence[str], session_directory: str) -> tuple[str, ...]:
    """One in each directory or URL; none when there are none. Their names are the session's, on whatever machine.

    Raises AsyncrayError when a directory can be neither found nor made, nor written to, or when another user could put
    something else in the place of what is written there: who reads objects runs what they say.
    """
    name = f"asyncray-{socket.gethostname()}-{os.path.basename(session_directory)}"
    return tuple(f"{_checked(directory)}/{name}" for directory in directories)


def local(folders: Sequence[str]) -> list[str]:
    """Those that are left when the daemon is killed, and that others of this machine can remove."""
    return [folder for folder in folders if not is_external(folder)]


def _checked(directory: str) -> str:
    if is_external(directory):
        check_external(directory)
        return directory.rstrip("/") if not directory.endswith("://") else directory[:-1]
    path = os.path.abspath(directory)
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise AsyncrayError(f"objects cannot be spilled to {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise AsyncrayError(f"objects cannot be spilled to {path}: it cannot be written to")
    found = os.stat(path)
    whose = ""
    if found.st_uid not in (0, os.geteuid()):
        whose = "it belongs to another user"
    elif found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        whose = "everybody can exchange what is in it"
    if whose:
        raise AsyncrayError(f"objects are not spilled to {path}: {whose}. Name a folder of your own, in it for one")
    return path
