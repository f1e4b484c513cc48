"""Nothing is decoded for a caller without the token."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from asyncray.errors import AuthenticationError
from asyncray.proto import Empty, NodeBase, NodeStatus, NodeStub
from asyncray.rpc import codec, frame
from asyncray.rpc.auth import Token
from asyncray.rpc.network import GrpcNetwork

from .endpoints import ROUTE, TOKEN, Recorder, Server, release
from .raw_http2 import prefixed, raw_client

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

WRONG = [None, "", "secre", "secret x", "Secret", "secret2", "x" * 10_000]


@pytest.mark.parametrize("token", ["wrong", "secretsecret"])
async def test_the_wrong_token_is_refused_with_a_remedy(target: str, token: str, server: Server) -> None:
    channel = await GrpcNetwork(token).connect(target)
    recorder = Recorder()
    with pytest.raises(AuthenticationError, match=r"ASYNCRAY_TOKEN.*--token-file") as stream_error:
        await channel.open(ROUTE, recorder, release(1))
    with pytest.raises(AuthenticationError, match=r"ASYNCRAY_TOKEN.*--token-file"):
        await channel.stub(NodeStub).status(Empty())
    assert "\n" not in str(stream_error.value)
    assert target in str(stream_error.value)
    assert not server.accepted
    assert not recorder.ends
    channel.close()


async def test_the_right_token_is_accepted(target: str, server: Server) -> None:
    channel = await GrpcNetwork(TOKEN).connect(target)
    await channel.open(ROUTE, Recorder())
    assert len(server.accepted) == 1
    channel.close()


@pytest.fixture
def decoding_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("something was decoded")

    monkeypatch.setattr(codec, "unpack", fail)
    monkeypatch.setattr("asyncray.rpc.frame_link.frame_body", fail)
    monkeypatch.setattr(Empty, "FromString", fail)
    assert frame.frame_body is not fail


@pytest.mark.usefixtures("decoding_is_an_error")
@pytest.mark.parametrize("token", WRONG)
@pytest.mark.parametrize("route", [ROUTE, "/asyncray.Node/Status", "/nowhere"])
async def test_nothing_is_decoded_without_the_token(
    socket_path: str, route: str, token: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    called = []

    class Node(NodeBase):
        async def status(self, request: Empty) -> NodeStatus:
            called.append(request)
            return NodeStatus()

    server = Server()
    listener = await GrpcNetwork(TOKEN).listen(services=[Node()], streams={ROUTE: server.accept}, unix_path=socket_path)
    async with raw_client(socket_path) as client:
        stream = client.request(route, token)
        client.send(stream, prefixed(b"\x0a\x01\x90"))
        client.send(stream, b"not even gRPC", end=True)
        response = await client.response(stream)
        assert response[":status"] == "200"
        assert response["grpc-status"] == "16"
    await listener.close()
    assert not called
    assert not server.accepted
    assert TOKEN not in caplog.text.replace("secretsecret", "")
    assert "without the right token" in caplog.text


async def test_the_token_is_not_logged(target: str, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        channel = await GrpcNetwork(TOKEN).connect(target)
        await channel.open(ROUTE, Recorder(), release(1))
        channel.close()
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("token", ["", "two words", "line\n", "naïve"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    with pytest.raises(AuthenticationError):
        GrpcNetwork(token)


def test_only_the_exact_header_is_accepted() -> None:
    token = Token("abc")
    assert token.accepts(dict([token.header]))
    for value in ("abc", "bearer abc", "Bearer  abc", "Bearer abc ", "Bearer ab", "Bearer ä", ""):
        assert not token.accepts({"authorization": value})
    assert not token.accepts({})
