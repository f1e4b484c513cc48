"""Which cluster an address means, and its token."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncray import session
from asyncray.cli.local_cluster import find_token, given_token, running_cluster
from asyncray.errors import AsyncrayError, AuthenticationError
from asyncray.session import SessionInfo

Publish = Callable[..., SessionInfo]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Publish:
    """Makes the session of a daemon: of this process, which runs."""
    monkeypatch.setenv("ASYNCRAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("ASYNCRAY_TOKEN", raising=False)

    def publish(address: str, *, token: str = "token", embedded: bool = False) -> SessionInfo:
        directory = session.base_directory() / address
        directory.mkdir(parents=True)
        (directory / "token").write_text(token)
        info = SessionInfo(str(directory), "head", os.getpid(), address, "", "", "", embedded)
        session.publish(info)
        return info

    return publish


def test_the_cluster_that_runs_here_is_found(publish: Publish) -> None:
    with pytest.raises(AsyncrayError, match="start one with"):
        running_cluster()
    publish("127.0.0.1:1", embedded=True)
    with pytest.raises(AsyncrayError, match=r"those of single programs, choose by --address: 127\.0\.0\.1:1"):
        running_cluster()
    publish("127.0.0.1:2")
    assert running_cluster() == "127.0.0.1:2"
    publish("127.0.0.1:3")
    with pytest.raises(AsyncrayError, match=r"choose by --address: 127\.0\.0\.1:2, 127\.0\.0\.1:3"):
        running_cluster()


def test_a_token_is_looked_for_from_the_explicit_to_the_implied(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AuthenticationError, match="ASYNCRAY_TOKEN, or the file that holds it by --token-file"):
        find_token("127.0.0.1:1", None)
    publish("127.0.0.1:1", token="of the session")
    assert find_token("localhost:1", None) == "of the session"
    monkeypatch.setenv("ASYNCRAY_TOKEN", "of the environment")
    assert find_token("127.0.0.1:1", None) == "of the environment"
    file = tmp_path / "token"
    file.write_text("of the file\n")
    assert find_token("127.0.0.1:1", str(file)) == "of the file"


def test_a_token_does_not_go_to_another_cluster(publish: Publish) -> None:
    publish("127.0.0.1:1")
    with pytest.raises(AuthenticationError):
        find_token("10.0.0.1:1", None)


def test_a_token_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(AuthenticationError, match=str(file)):
        given_token(str(file))
    file.write_text(" \n")
    with pytest.raises(AuthenticationError, match="is empty"):
        given_token(str(file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(AuthenticationError, match=str(file)):
        given_token(str(file))
