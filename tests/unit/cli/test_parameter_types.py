"""What the options of the commands accept."""

from __future__ import annotations

from typing import Any

import click
import pytest

from asyncray.cli.parameter_types import Address, Labels, ResourceAmounts, Size


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1000000", 1_000_000),
        ("0", 0),
        ("512MB", 512_000_000),
        ("512 mb", 512_000_000),
        ("2GiB", 2 << 30),
        ("1.5G", 1_500_000_000),
        ("64k", 64_000),
        ("1Ti", 1 << 40),
        ("7B", 7),
    ],
)
def test_sizes_have_decimal_and_binary_units(text: str, amount: int) -> None:
    assert Size().convert(text, None, None) == amount


@pytest.mark.parametrize("text", ["", "MB", "-1", "5XB", "1.2.3", "2 gigabytes", "1i"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected 512MB, 2GiB"):
        Size().convert(text, None, None)


def test_resources_are_a_json_object() -> None:
    assert ResourceAmounts().convert('{"disk": 2, "licence": 0.5}', None, None) == {"disk": 2.0, "licence": 0.5}


@pytest.mark.parametrize("text", ["disk=2", "[1]", '{"disk": "2"}', '{"disk": -1}', '{"disk": true}', "{", "3"])
def test_what_is_no_resource_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        ResourceAmounts().convert(text, None, None)


def test_labels_are_pairs_with_commas_in_between() -> None:
    assert Labels().convert("zone=a, rack=1,empty=", None, None) == {"zone": "a", "rack": "1", "empty": ""}
    assert Labels().convert("formula=a=b", None, None) == {"formula": "a=b"}


@pytest.mark.parametrize("text", ["zone", "=a", "", "a=b,,c=d"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not KEY=VALUE"):
        Labels().convert(text, None, None)


@pytest.mark.parametrize("text", ["localhost:6379", "10.0.0.1:1", "[::1]:65535"])
def test_an_address_is_a_host_and_a_port(text: str) -> None:
    assert Address().convert(text, None, None) == text


@pytest.mark.parametrize("text", ["localhost", ":1", "a:0", "a:65536", "a:b", "a:-1", "auto", ""])
def test_what_is_no_address_is_refused(text: Any) -> None:
    with pytest.raises(click.BadParameter, match="is not HOST:PORT"):
        Address().convert(text, None, None)


def test_auto_is_an_address_where_one_may_be_found() -> None:
    assert Address(auto=True).convert("auto", None, None) == "auto"
