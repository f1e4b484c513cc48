"""The tunables."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from asyncray.config import DEFAULT, Config


def test_the_defaults_are_valid() -> None:
    assert Config() == DEFAULT


@pytest.mark.parametrize("name", [field.name for field in fields(Config)])
@pytest.mark.parametrize("value", [0, -1])
def test_every_tunable_must_be_positive(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got {value}"):
        Config(**{name: value})  # type: ignore[arg-type]


def test_an_inline_value_must_fit_a_frame() -> None:
    with pytest.raises(ValueError, match="inline_limit cannot exceed frame_target"):
        Config(inline_limit=2_000_000, frame_target=1_000_000)


def test_a_config_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT.inline_limit = 1  # type: ignore[misc]
