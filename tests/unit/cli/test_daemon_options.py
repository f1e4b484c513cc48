"""From the options of a command to the settings of a daemon, and to what the user is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from asyncray.cli.daemon_options import control_options, control_settings, describe, node_options, node_settings
from asyncray.daemon import DaemonSettings
from asyncray.session import SessionInfo


@pytest.fixture(autouse=True)
def no_token_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASYNCRAY_TOKEN", raising=False)


def settings_of(*arguments: str, control: bool = False) -> DaemonSettings:
    found: list[DaemonSettings] = []

    @click.command()
    @(control_options if control else node_options)
    def command(**options: Any) -> None:
        found.append((control_settings if control else node_settings)(**options))

    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return found[0]


def info_of(role: str, address: str) -> SessionInfo:
    return SessionInfo("/sessions/one", role, 1, address, "", "", "", False)


def test_every_option_reaches_the_daemon(tmp_path: Path) -> None:
    for name in ("cert", "key", "ca", "token"):
        (tmp_path / name).write_text(name)
    settings = settings_of(
        *("--head", "--host", "0.0.0.0", "--port", "7000", "--node-port", "7001"),
        *("--num-cpus", "2.5", "--num-gpus", "1", "--memory", "1GiB", "--object-store-memory", "512MB"),
        *("--object-spilling-directory", "/disk", "--object-spilling-directory", "s3://bucket/spilled"),
        *("--arena-dir", str(tmp_path), "--memory-threshold", "0.9"),
        *("--resources", '{"disk": 2}', "--labels", "zone=a", "--labels", "rack=1,row=2"),
        *(f"--tls-cert={tmp_path}/cert", f"--tls-key={tmp_path}/key", f"--tls-ca={tmp_path}/ca"),
        *("--log-level", "debug", f"--token-file={tmp_path}/token"),
    )
    assert settings == DaemonSettings(
        role="head",
        host="0.0.0.0",
        port=7000,
        node_port=7001,
        token="token",
        num_cpus=2.5,
        num_gpus=1,
        memory=1 << 30,
        object_store_memory=512_000_000,
        object_spilling_directory=["/disk", "s3://bucket/spilled"],
        memory_threshold=0.9,
        arena_dir=str(tmp_path),
        resources={"disk": 2.0},
        labels={"zone": "a", "rack": "1", "row": "2"},
        tls_cert=f"{tmp_path}/cert",
        tls_key=f"{tmp_path}/key",
        tls_ca=f"{tmp_path}/ca",
        log_level="DEBUG",
    )


def test_what_is_not_given_is_left_to_the_daemon() -> None:
    settings = settings_of("--head")
    assert settings.token
    assert settings == DaemonSettings(role="head", token=settings.token)
    control = settings_of(control=True)
    assert control == DaemonSettings(role="control", token=control.token)


def test_every_new_cluster_has_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of("--head").token != settings_of("--head").token
    monkeypatch.setenv("ASYNCRAY_TOKEN", "given")
    assert settings_of("--head").token == "given"


def test_a_new_cluster_makes_the_token_file_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = settings_of("--head", "--token-file", str(path)).token
    assert path.read_text() == token
    assert path.stat().st_mode & 0o777 == 0o600
    assert settings_of("--head", "--token-file", str(path)).token == token
    assert settings_of("--address", "10.0.0.1:7000", "--token-file", str(path)).token == token


def test_a_joining_node_has_the_address_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCRAY_TOKEN", "given")
    settings = settings_of("--address", "10.0.0.1:7000")
    assert (settings.role, settings.address, settings.token) == ("node", "10.0.0.1:7000", "given")


def test_a_cluster_on_the_loopback_interface_says_that_it_is_alone() -> None:
    text = describe(info_of("head", "127.0.0.1:7000"), DaemonSettings())
    assert "asyncray node --address 127.0.0.1:7000 --token-file /sessions/one/token" in text
    assert 'asyncray.init(address="127.0.0.1:7000")' in text
    assert "/sessions/one/logs" in text
    assert "Only this machine can reach it" in text
    assert "Only this machine" not in describe(info_of("head", "10.0.0.1:7000"), DaemonSettings())
    assert "Only this machine" not in describe(info_of("node", "127.0.0.1:7000"), DaemonSettings())


def test_a_cluster_on_all_interfaces_is_told_by_an_address_that_others_can_use() -> None:
    text = describe(info_of("control", "0.0.0.0:7000"), DaemonSettings(), command="start")
    assert "0.0.0.0" not in text
    assert "asyncray start --address " in text


def test_whoever_joins_with_tls_is_told_what_to_bring() -> None:
    text = describe(info_of("head", "10.0.0.1:7000"), DaemonSettings(tls_cert="c", tls_key="k", tls_ca="a"))
    assert "--tls-cert CERT --tls-key KEY --tls-ca CA" in text
