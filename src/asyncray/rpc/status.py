"""What errors of asyncray are in gRPC: statuses, and HTTP/2's codes where there is no place for a status."""

from __future__ import annotations

from typing import Final

from grpclib.const import Status
from grpclib.metadata import decode_grpc_message, encode_grpc_message
from h2.errors import ErrorCodes

from asyncray.errors import AsyncrayError, AuthenticationError, ConnectionFailed, ProtocolError

_STATUS_OF: Final[tuple[tuple[type[Exception], Status], ...]] = (
    (AuthenticationError, Status.UNAUTHENTICATED),
    (ProtocolError, Status.INVALID_ARGUMENT),
    (ConnectionFailed, Status.UNAVAILABLE),
    (TimeoutError, Status.DEADLINE_EXCEEDED),
)
_ERROR_OF: Final[dict[Status, type[Exception]]] = {
    Status.UNAUTHENTICATED: AuthenticationError,
    Status.INVALID_ARGUMENT: ProtocolError,
    Status.UNIMPLEMENTED: ProtocolError,
    Status.INTERNAL: ProtocolError,
    Status.RESOURCE_EXHAUSTED: ProtocolError,
    Status.UNAVAILABLE: ConnectionFailed,
    Status.DEADLINE_EXCEEDED: TimeoutError,
}
_MESSAGE_LIMIT: Final = 4096
"""Characters of an error's text that travel: headers are small."""


def headers_of(error: Exception | None) -> list[tuple[str, str]]:
    """The status headers that end a call with `error`, or well."""
    if error is None:
        return [("grpc-status", str(Status.OK.value))]
    status = next((status for kind, status in _STATUS_OF if isinstance(error, kind)), Status.UNKNOWN)
    text = str(error) or type(error).__name__
    return [
        ("grpc-status", str(status.value)),
        ("grpc-message", encode_grpc_message(text[:_MESSAGE_LIMIT].encode(errors="replace").decode())),
    ]


def error_of_headers(headers: dict[str, str], remote: str) -> Exception | None:
    """The error that the final headers of a call stand for; None if it ended well."""
    try:
        status = Status(int(headers["grpc-status"]))
    except KeyError:
        return ProtocolError(f"{remote} ended a call without a status")
    except ValueError:
        return ProtocolError(f"{remote} ended a call with the status {headers['grpc-status']!r}")
    if status is Status.OK:
        return None
    message = decode_grpc_message(headers.get("grpc-message", "")) or status.name
    if status is Status.UNAUTHENTICATED:
        return AuthenticationError(
            f"{remote} refused the token of this process: "
            "give the cluster's by ASYNCRAY_TOKEN, or the file that holds it by --token-file"
        )
    return _ERROR_OF.get(status, AsyncrayError)(f"{remote}: {message}")


def reset_code_of(error: Exception) -> ErrorCodes:
    """How a client, which has no status to give, ends a call because of `error`."""
    return ErrorCodes.PROTOCOL_ERROR if isinstance(error, ProtocolError) else ErrorCodes.CANCEL


def error_of_reset(code: int, remote: str) -> Exception:
    """The error that a reset by the peer stands for."""
    if code == ErrorCodes.PROTOCOL_ERROR:
        return ProtocolError(f"{remote} found what it received malformed, and closed the stream")
    name = ErrorCodes(code).name if code in set(ErrorCodes) else str(code)
    return ConnectionFailed(f"{remote} broke the stream off ({name})")
