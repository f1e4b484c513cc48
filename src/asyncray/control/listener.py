"""Where the control plane listens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from asyncray.rpc.network import Listener, Network
from asyncray.rpc.service import Manager
from asyncray.rpc.stream import Accept

if TYPE_CHECKING:
    from betterproto.grpc.grpclib_server import ServiceBase


class ControlListener(Manager):
    """Comes last among the managers, so that nobody is heard before all are ready, nor after one has stopped."""

    def __init__(
        self,
        network: Network,
        services: Sequence[ServiceBase],
        streams: Mapping[str, Accept],
        *,
        host: str | None,
        port: int,
        unix_path: str | None,
    ) -> None:
        self._network = network
        self._services = services
        self._streams = streams
        self._host = host
        self._port = port
        self._unix_path = unix_path
        self._listener: Listener | None = None

    @property
    def port(self) -> int:
        """The TCP port; 0 while it does not listen on TCP."""
        return self._listener.port if self._listener is not None else 0

    async def start(self) -> None:
        """Raises AddressInUse."""
        self._listener = await self._network.listen(
            services=self._services,
            streams=self._streams,
            unix_path=self._unix_path,
            host=self._host,
            port=self._port,
        )

    async def stop(self) -> None:
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
