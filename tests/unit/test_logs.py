from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncray.logs import structured_handler


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.log"


@pytest.fixture
def logger(path: Path) -> Iterator[logging.Logger]:
    handler = structured_handler(str(path), "node")
    logger = logging.Logger("asyncray.some.module")
    logger.addHandler(handler)
    yield logger
    handler.stream.close()  # type: ignore[attr-defined]


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_record_is_one_json_object_with_who_when_and_what(logger: logging.Logger, path: Path) -> None:
    logger.warning("node %s is\ndead", "7f")
    (record,) = records(path)
    assert list(record) == ["time", "level", "logger", "role", "pid", "message"]
    when = datetime.fromisoformat(record.pop("time"))
    assert when.utcoffset() == timedelta(0)
    assert abs(datetime.now(when.tzinfo) - when) < timedelta(minutes=1)
    assert record == {
        "level": "WARNING",
        "logger": "asyncray.some.module",
        "role": "node",
        "pid": os.getpid(),
        "message": "node 7f is\ndead",
    }


def test_what_a_record_carries_besides_its_text_is_a_field_of_its_own(logger: logging.Logger, path: Path) -> None:
    logger.info("job ended", extra={"job_id": "0a"})
    assert records(path)[0]["job_id"] == "0a"


def test_an_exception_is_told_with_its_traceback(logger: logging.Logger, path: Path) -> None:
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("a manager failed")
    (record,) = records(path)
    assert record["exception"].startswith("Traceback")
    assert "KeyError: 'lost'" in record["exception"]


def test_a_value_that_is_not_json_does_not_lose_the_record(logger: logging.Logger, path: Path) -> None:
    logger.info("odd", extra={"thing": object(), "data": b"\xff"})
    (record,) = records(path)
    assert record["message"] == "odd"


def test_the_file_is_for_its_owner_only_and_is_appended_to(logger: logging.Logger, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    logger.info("first")
    again = structured_handler(str(path), "node")
    again.handle(logging.makeLogRecord({"msg": "second", "name": "n", "levelname": "INFO"}))
    assert [record["message"] for record in records(path)] == ["first", "second"]
    again.stream.close()  # type: ignore[attr-defined]
