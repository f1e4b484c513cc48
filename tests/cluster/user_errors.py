"""Exceptions of a user's module, which workers import."""

from __future__ import annotations

import threading


class QuotaExceeded(Exception):
    """Cannot be made from its `args` alone."""

    def __init__(self, user: str, limit: int) -> None:
        super().__init__(f"{user} may have {limit}")
        self.user = user
        self.limit = limit


class Locked(Exception):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
