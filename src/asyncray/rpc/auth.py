"""The cluster's token: whoever has it may do everything, whoever has not may do nothing."""

from __future__ import annotations

import hmac
from typing import Final

from asyncray.errors import AuthenticationError

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
