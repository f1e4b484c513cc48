"""What to do about errors of user code that come from what asyncray is: said in the error itself."""

from __future__ import annotations

import re
from typing import Final

from asyncray.portable_exception import message_of

_READ_ONLY: Final = re.compile("(array|destination) is read-only|read-only (array|memory)|WRITEABLE flag")
"""How NumPy, pandas, Cython's buffers and memoryview say it."""

_COPY: Final = (
    "Large arrays that come as arguments or from get() are views of shared memory, which other processes read too."
    " Change a copy: array = array.copy(), or bytearray(view) for a memoryview."
)


def advise(error: BaseException) -> None:
    """Adds a note to an error that says no more than that something is read-only."""
    if isinstance(error, (ValueError, TypeError)) and _READ_ONLY.search(message_of(error)):
        error.add_note(_COPY)
