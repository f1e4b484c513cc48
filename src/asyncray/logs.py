"""Structured logs: what daemons and workers report, one JSON object per line.

    {"time": "2026-03-01T12:00:00.000+00:00", "level": "INFO", "logger": "asyncray.control.nodes", "role": "head",
     "pid": 4242, "message": "node 1f0c... joined from 10.0.0.2:7001", "node_id": "1f0c..."}

`exception` and `stack` are there when the record has them, and so is whatever came in the record's `extra`.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime

from pythonjsonlogger.json import JsonFormatter

_FIELDS = ("asctime", "levelname", "name", "role", "process", "message")
_NAMES = {
    "asctime": "time",
    "levelname": "level",
    "name": "logger",
    "process": "pid",
    "exc_info": "exception",
    "stack_info": "stack",
}


def structured_handler(path: str, role: str) -> logging.Handler:
    """Appends records to the file at `path`, which it makes with mode 0600; `role` names the kind of process."""
    handler = logging.StreamHandler(open(path, "a", opener=_open_private))  # noqa: SIM115
    handler.setFormatter(_Formatter(_FIELDS, rename_fields=_NAMES, static_fields={"role": role}))
    return handler


class _Formatter(JsonFormatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """UTC with its offset, to the millisecond: the logs of several machines can be merged by it."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
