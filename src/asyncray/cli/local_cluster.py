"""Clusters that have a daemon on this machine: which one an address means, and its token."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from asyncray.errors import AsyncrayError, AuthenticationError
from asyncray.rpc.own_address import is_same
from asyncray.session import SessionInfo, running_sessions

TOKEN_VARIABLE: Final = "ASYNCRAY_TOKEN"


def sessions_at(address: str) -> list[SessionInfo]:
    """The daemons of this machine that belong to the cluster at `address`."""
    return [info for info in running_sessions() if is_same(address, info.address)]


def find_token(address: str, token_file: str | None) -> str:
    """The token of the cluster at `address`: from the file, the environment, or a daemon of it on this machine.

    Raises AuthenticationError when there is none.
    """
    token = given_token(token_file)
    if token is not None:
        return token
    for info in sessions_at(address):
        return info.token()
    raise AuthenticationError(
        f"no daemon of the cluster at {address} runs on this machine, so its token is not known here:"
        f" give it by {TOKEN_VARIABLE}, or the file that holds it by --token-file"
    )


def given_token(token_file: str | None) -> str | None:
    """The token that the user gave. Raises AuthenticationError for a file that cannot be read."""
    if token_file is not None:
        return _read_token_file(token_file)
    return os.environ.get(TOKEN_VARIABLE) or None


def _read_token_file(path: str) -> str:
    try:
        token = Path(path).read_text().strip()
    except (OSError, UnicodeError) as error:
        raise AuthenticationError(f"cannot read the token file {path}: {error}") from None
    if not token:
        raise AuthenticationError(f"the token file {path} is empty")
    return token


def running_cluster() -> str:
    """The address of the cluster that runs on this machine, embedded ones aside.

    Raises AsyncrayError when there is none, or more than one.
    """
    sessions = running_sessions()
    addresses = sorted({info.address for info in sessions if not info.embedded})
    if len(addresses) == 1:
        return addresses[0]
    if addresses:
        raise AsyncrayError(f"several clusters run on this machine, choose by --address: {', '.join(addresses)}")
    embedded = sorted({info.address for info in sessions})
    if embedded:
        raise AsyncrayError(
            f"no cluster runs on this machine but those of single programs, choose by --address: {', '.join(embedded)}"
        )
    raise AsyncrayError("no cluster runs on this machine: start one with `asyncray start --head`")
