"""The cluster's token: whoever has it may do everything, whoever has not may do nothing."""

from __future__ import annotations

import hmac
import os
import secrets
from typing import Final

from asyncray.errors import AuthenticationError

TOKEN_VARIABLE: Final = "ASYNCRAY_TOKEN"
_HEADER: Final = "authorization"
_SCHEME: Final = "Bearer "


class Token:
    """What a process shows, and what it asks others to show."""

    def __init__(self, token: str) -> None:
        """Raises AuthenticationError for a token that no header can carry."""
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise AuthenticationError("a token is one word of printable ASCII, and not empty")
        self._expected = (_SCHEME + token).encode()
        self.header = (_HEADER, _SCHEME + token)
        """To be sent with every call."""

    def accepts(self, headers: dict[str, str]) -> bool:
        """Whether a call came with the token. Takes the same time wherever the two differ."""
        return hmac.compare_digest(headers.get(_HEADER, "").encode(), self._expected)


def new_token() -> str:
    return secrets.token_urlsafe(32)


def write_token_file(path: str, token: str) -> None:
    """Writes a new file that only its owner can read. Raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")


def read_token_file(path: str) -> str:
    """Raises AuthenticationError with a line that names the file."""
    try:
        with open(path, encoding="ascii") as file:
            token = file.read().strip()
    except (OSError, ValueError) as error:
        raise AuthenticationError(f"cannot read the token file {path}: {error}") from error
    if not token:
        raise AuthenticationError(f"the token file {path} is empty")
    return token
