"""The real bulk channel: TCP connections of its own, with TLS if the cluster has it, and `sendfile` if not."""

from __future__ import annotations

from collections.abc import Callable

from asyncray.config import DEFAULT, Config
from asyncray.rpc.auth import Token
from asyncray.rpc.sockets import listen_tcp
from asyncray.rpc.tls import TlsConfig
from asyncray.store import bulk_wire
from asyncray.store.arena import SharedMemory
from asyncray.store.bulk_client import TcpBulkClient
from asyncray.store.bulk_server import TcpBulkServer
from asyncray.store.source import Source


class TcpBulk:
    """A `Bulk`. Its threads and sockets begin with the first use."""

    def __init__(self, token: str, config: Config = DEFAULT, tls: TlsConfig | None = None) -> None:
        self._greeting = bulk_wire.greeting(Token(token))
        self._config = config
        self._tls = tls
        self._client: TcpBulkClient | None = None

    async def serve(
        self, host: str, open_source: Callable[[bytes], Source | None], arena: SharedMemory
    ) -> TcpBulkServer:
        context = self._tls.server_context() if self._tls is not None else None
        sock = await listen_tcp(host, 0)
        try:
            return TcpBulkServer(sock, self._greeting, self._config, context, open_source, arena)
        except BaseException:
            sock.close()
            raise

    async def fetch(
        self, target: str, key: bytes, offset: int, into: memoryview, progress: Callable[[int], None]
    ) -> int | None:
        if self._client is None:
            self._client = TcpBulkClient(self._greeting, self._config, self._tls)
        return await self._client.fetch(target, key, offset, into, progress)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
