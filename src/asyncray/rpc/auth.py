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

    def proof(self, purpose: str) -> bytes:
        """32 bytes that only who knows the token can make, for a protocol that has no headers. They are shown instead
        of the token, and are good for that `purpose` only. Compare them with `hmac.compare_digest`."""
        return hmac.digest(self._expected, purpose.encode(), "sha256")

    def accepts(self, headers: dict[str, str]) -> bool:
        """Whether a call came with the token. Takes the same time wherever the two differ."""
        return hmac.compare_digest(headers.get(_HEADER, "").encode(), self._expected)
