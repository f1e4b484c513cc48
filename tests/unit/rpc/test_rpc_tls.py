from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from asyncray.config import Config
from asyncray.errors import AsyncrayError, ConnectionFailed
from asyncray.rpc.network import GrpcNetwork
from asyncray.rpc.tls import TlsConfig

from .endpoints import ROUTE, TOKEN, Recorder, Server, release

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


class Authority:
    """Writes certificates that it signs."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self._ca = trustme.CA()
        self.file = str(directory / "ca.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, *names: str, mutual: bool | None = None, ca: bool = True) -> TlsConfig:
        certificate = self._ca.issue_cert(*names)
        cert, key = str(self.directory / f"{names[0]}.pem"), str(self.directory / f"{names[0]}.key")
        certificate.private_key_pem.write_to_path(key)
        for number, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(cert, append=number > 0)
        return TlsConfig(cert, key, self.file if ca else None, mutual)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "theirs")


@contextlib.asynccontextmanager
async def serving(
    tls: TlsConfig | None, path: str | None = None, config: Config | None = None
) -> AsyncIterator[Server]:
    server = Server()
    server.on_message = lambda stream, message: stream.send(message)
    server.listener = await GrpcNetwork(TOKEN, config or Config(), tls).listen(
        streams={ROUTE: server.accept}, host="127.0.0.1", unix_path=path
    )
    try:
        yield server
    finally:
        await server.listener.close()


async def talk(target: str, tls: TlsConfig | None) -> None:
    """A few megabytes there and back."""
    channel = await GrpcNetwork(TOKEN, tls=tls).connect(target)
    try:
        recorder = Recorder()
        stream = await channel.open(ROUTE, recorder)
        for number in range(100_000):
            stream.send(release(number))
        await recorder.received(100_000)
        assert not recorder.ends
    finally:
        channel.close()


async def test_a_client_that_knows_the_authority_talks(authority: Authority) -> None:
    async with serving(authority.issue("127.0.0.1", mutual=False)) as server:
        await talk(server.tcp, TlsConfig(ca=authority.file))


async def test_mutual_tls_works_with_certificates_on_both_sides(authority: Authority) -> None:
    async with serving(authority.issue("127.0.0.1")) as server:
        await talk(server.tcp, authority.issue("worker"))


@pytest.mark.parametrize("mutual", [None, True])
async def test_mutual_tls_refuses_a_client_without_a_certificate(authority: Authority, mutual: bool | None) -> None:
    async with serving(authority.issue("127.0.0.1", mutual=mutual)) as server:
        with pytest.raises(ConnectionFailed):
            await talk(server.tcp, TlsConfig(ca=authority.file))
        assert not server.accepted


async def test_mutual_tls_refuses_a_client_of_another_authority(authority: Authority, stranger: Authority) -> None:
    async with serving(authority.issue("127.0.0.1")) as server:
        theirs = stranger.issue("worker")
        with pytest.raises(ConnectionFailed):
            await talk(server.tcp, TlsConfig(theirs.cert, theirs.key, authority.file))
        assert not server.accepted


async def test_a_server_of_another_authority_is_refused_with_the_reason(
    authority: Authority, stranger: Authority
) -> None:
    async with serving(stranger.issue("127.0.0.1", mutual=False)) as server:
        with pytest.raises(ConnectionFailed, match="certificate verify failed") as error:
            await talk(server.tcp, TlsConfig(ca=authority.file))
        assert server.tcp in str(error.value)


async def test_a_server_with_another_name_is_refused_unless_that_is_the_name_asked_for(authority: Authority) -> None:
    async with serving(authority.issue("cluster.internal", mutual=False)) as server:
        with pytest.raises(ConnectionFailed, match="certificate verify failed"):
            await talk(server.tcp, TlsConfig(ca=authority.file))
        await talk(server.tcp, TlsConfig(ca=authority.file, server_name="cluster.internal"))


async def test_a_plain_client_is_told_that_the_server_may_want_tls(authority: Authority) -> None:
    async with serving(authority.issue("127.0.0.1", mutual=False)) as server:
        with pytest.raises(ConnectionFailed, match="does it expect TLS"):
            await talk(server.tcp, None)


async def test_a_tls_client_of_a_plain_server_fails_clearly(authority: Authority) -> None:
    async with serving(None) as server:
        with pytest.raises(ConnectionFailed, match="cannot connect to"):
            await talk(server.tcp, TlsConfig(ca=authority.file))


async def test_unix_sockets_stay_plain(authority: Authority, socket_path: str) -> None:
    async with serving(authority.issue("127.0.0.1"), socket_path) as server:
        await talk(server.unix, authority.issue("worker"))


async def test_a_peer_that_never_shakes_hands_does_not_hold_up_the_end(authority: Authority) -> None:
    async with asyncio.timeout(5), serving(authority.issue("127.0.0.1"), config=Config(connect_timeout=0.5)) as server:
        _, writer = await asyncio.open_connection(server.listener.host, server.listener.port)
        await asyncio.sleep(0.05)
        await server.listener.close()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_files_that_cannot_be_used_are_named(tmp_path: Path, authority: Authority) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    good = authority.issue("127.0.0.1")
    for path in (str(broken), str(tmp_path / "missing.pem")):
        with pytest.raises(AsyncrayError, match=path):
            TlsConfig(path, path).server_context()
        with pytest.raises(AsyncrayError, match=path):
            TlsConfig(ca=path).client_context()
        with pytest.raises(AsyncrayError, match=path):
            TlsConfig(good.cert, good.key, path).server_context()


def test_settings_that_make_no_sense_are_refused(authority: Authority) -> None:
    with pytest.raises(ValueError, match="both or neither"):
        TlsConfig(cert="a.pem")
    with pytest.raises(ValueError, match="authority"):
        TlsConfig(mutual=True)
    with pytest.raises(AsyncrayError, match="certificate and its key"):
        TlsConfig(ca=authority.file).server_context()


def test_old_versions_of_tls_are_not_spoken(authority: Authority) -> None:
    config = authority.issue("127.0.0.1")
    for context in (config.server_context(), config.client_context()):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
