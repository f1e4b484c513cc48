"""TLS for TCP connections, mutual if wanted. Unix sockets need none: only their owner can open them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

from asyncray.errors import AsyncrayError

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Files in PEM. A process that listens needs `cert` and `key`; one that dials needs `ca`."""

    cert: str | None = None
    """This process's certificate, with the chain up to the authority."""
    key: str | None = None
    ca: str | None = None
    """The authority that signed the cluster's certificates; the system's authorities if absent."""
    mutual: bool | None = None
    """Whoever connects must show a certificate that `ca` signed. By default, if there is a `ca`."""
    server_name: str | None = None
    """The name that servers' certificates bear, when it is not the host that was dialled."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("a TLS certificate needs its key, and a key its certificate: give both or neither")
        if self.mutual and self.ca is None:
            raise ValueError("mutual TLS needs the authority that signs the clients' certificates")

    def server_context(self) -> ssl.SSLContext:
        """For a process that listens. Raises AsyncrayError for files that cannot be used."""
        if self.cert is None:
            raise AsyncrayError("a process that listens with TLS needs a certificate and its key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.mutual or (self.mutual is None and self.ca is not None):
            context.verify_mode = ssl.CERT_REQUIRED
            self._load_authority(context)
        return self._finish(context)

    def client_context(self) -> ssl.SSLContext:
        """For a process that dials. Raises AsyncrayError for files that cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            self._load_authority(context)
        return self._finish(context)

    def _load_authority(self, context: ssl.SSLContext) -> None:
        try:
            context.load_verify_locations(self.ca)
        except (OSError, ValueError) as error:
            raise AsyncrayError(f"cannot use the TLS authority {self.ca}: {error}") from error

    def _finish(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols(["h2"])
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key)
            except (OSError, ValueError) as error:
                raise AsyncrayError(f"cannot use the TLS certificate {self.cert} with {self.key}: {error}") from error
        return context
