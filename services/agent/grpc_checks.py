"""Asks a server for its health over gRPC: `Check` of grpc.health.v1.Health, as pkg/probe/grpc does, in clear text.

One call on one connection. h2 (pure Python, small) speaks HTTP/2; grpcio, 12 MB with threads of its own, would do no
more here. The two messages have one field each and are written and read by hand.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

SERVING = 1
_STATUSES = {0: "UNKNOWN", SERVING: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_CODES = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
]
_MOST_BYTES = 64 << 10
"""A server that says more than this about its health is not listened to any longer."""


@dataclass(slots=True)
class _Reply:
    """What a server has said so far: its headers and trailers, its message with the five bytes before it."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    is_over: bool = False


def check_health(place: tuple[str, int], service: str, seconds: float) -> tuple[bool, str]:
    """Return whether `service` ("" is the server itself) is SERVING, and why not, within `seconds` in all.

    The sentences are those of pkg/probe/grpc. Raises nothing that a server can cause.
    """
    deadline = time.monotonic() + seconds
    try:
        connection = socket.create_connection(place, seconds)
    except TimeoutError:
        return False, f'timeout: failed to connect service "{place[0]}:{place[1]}" within {seconds:g}s'
    except OSError as error:
        return False, f'error: failed to connect service at "{place[0]}:{place[1]}": {error}'
    with connection:
        try:
            reply = _call(connection, _request(place, service, seconds), deadline)
        except TimeoutError:
            return False, f"timeout: health rpc did not complete within {seconds:g}s"
        except (OSError, ProtocolError) as error:
            return False, f"error: health rpc probe failed: {error or type(error).__name__}"
    return _verdict(reply, seconds)


def _request(place: tuple[str, int], service: str, seconds: float) -> tuple[list[tuple[str, str]], bytes]:
    """Return the headers and the body of the call: a HealthCheckRequest, length-prefixed."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", f"{place[0]}:{place[1]}"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "kube-probe/1.36"),
        ("grpc-timeout", f"{max(1, round(seconds * 1000))}m"),
    ]
    return headers, b"\0" + struct.pack(">I", len(message)) + message


def _call(connection: socket.socket, request: tuple[list[tuple[str, str]], bytes], deadline: float) -> _Reply:
    """Send one request and read its reply to the end. Raises TimeoutError, OSError, ProtocolError."""
    protocol = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    protocol.initiate_connection()
    stream = protocol.get_next_available_stream_id()
    protocol.send_headers(stream, request[0])
    protocol.send_data(stream, request[1], end_stream=True)
    reply = _Reply()
    while not reply.is_over:
        _limit(connection, deadline)
        connection.sendall(protocol.data_to_send())
        _limit(connection, deadline)
        received = connection.recv(16 << 10)
        if not received:
            raise ConnectionError("the server closed the connection")
        for event in protocol.receive_data(received):
            _note(reply, event, protocol)
        if len(reply.data) > _MOST_BYTES:
            raise ConnectionError("the server's answer is too long")
    return reply


def _limit(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


def _note(reply: _Reply, event: Event, protocol: H2Connection) -> None:
    match event:
        case ResponseReceived() | TrailersReceived():
            reply.headers |= {str(name): str(value) for name, value in event.headers or ()}
        case DataReceived():
            reply.data += event.data or b""
            protocol.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        case StreamEnded():
            reply.is_over = True
        case StreamReset() | ConnectionTerminated():
            raise ConnectionError(f"the server ended the call (code {event.error_code})")


def _verdict(reply: _Reply, seconds: float) -> tuple[bool, str]:
    code = reply.headers.get("grpc-status")
    said = unquote(reply.headers.get("grpc-message", ""))
    match code:
        case "0":
            status = _status_in(reply.data[5:])
            if status == SERVING:
                return True, ""
            return False, f'service unhealthy (responded with "{_STATUSES.get(status, status)}")'
        case "12":
            return False, (
                "error: this server does not implement the grpc health protocol "
                f"(grpc.health.v1.Health): {said}"
            )
        case "4":
            return False, f"timeout: health rpc did not complete within {seconds:g}s"
        case None:
            return (
                False,
                f"error: health rpc probe failed: HTTP status {reply.headers.get(':status')}, no gRPC",
            )
    name = _CODES[int(code)] if code.isdecimal() and int(code) < len(_CODES) else code
    return False, f"error: health rpc probe failed: rpc error: code = {name} desc = {said}"


def _status_in(message: bytes) -> int:
    """Return field 1 of a HealthCheckResponse, an enum below 128; 0 where it is left out."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
