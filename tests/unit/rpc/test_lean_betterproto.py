from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata

import betterproto
import pytest

from asyncray.rpc.lean_betterproto import VERSION, quicken


@dataclass(eq=False, repr=False)
class Inner(betterproto.Message):
    number: int = betterproto.int32_field(1)


@dataclass(eq=False, repr=False)
class Choice(betterproto.Message):
    name: str = betterproto.string_field(1)
    inner: Inner = betterproto.message_field(2)  # noqa: RUF009 - it makes a field
    text: str = betterproto.string_field(3, group="either")
    size: int = betterproto.int32_field(4, group="either")


def test_the_version_that_betterproto_is_told_is_the_one_that_is_installed() -> None:
    assert metadata.version("betterproto") == VERSION


def test_neither_daemons_nor_drivers_read_the_metadata_of_packages() -> None:
    program = "import asyncray.daemon, asyncray.sync, sys; print('importlib.metadata' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"


def test_quick_messages_have_their_defaults_their_values_and_their_choices() -> None:
    quicken()
    quicken()
    message = Choice(size=3)
    assert (message.name, message.inner.number, message.size) == ("", 0, 3)
    with pytest.raises(AttributeError, match="set to 'size', not 'text'"):
        _ = message.text
    message.text = "now this"
    read = Choice().parse(bytes(message))
    assert (read.text, read.name, read.inner.number) == ("now this", "", 0)
    with pytest.raises(AttributeError, match="set to 'text', not 'size'"):
        _ = read.size
