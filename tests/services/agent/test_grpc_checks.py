"""gRPC probes against real servers: grpcio's own, and sockets that misbehave."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.agent.checks import run_check
from services.agent.runtimes.port import Answer
from tests.services.agent.builders import a_container

Status = health_pb2.HealthCheckResponse


def check(port: int, service: str | None = None, seconds: float = 5) -> tuple[bool, str]:
    probe = {"grpc": {"port": port, **({} if service is None else {"service": service})}}
    asked = {**probe, "timeoutSeconds": seconds}
    return run_check(a_container(), asked, "127.0.0.1", lambda _: Answer(0, ""))


@contextmanager
def a_server(servicer: object | None) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(4))
    if servicer is not None:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait(5)


@pytest.fixture
def port() -> Iterator[int]:
    servicer = health.HealthServicer()
    servicer.set("", Status.SERVING)
    servicer.set("db", Status.SERVING)
    servicer.set("ill", Status.NOT_SERVING)
    servicer.set("n" * 300, Status.SERVING)
    with a_server(servicer) as port:
        yield port


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (None, (True, "")),
        ("db", (True, "")),
        ("n" * 300, (True, "")),
        ("ill", (False, 'service unhealthy (responded with "NOT_SERVING")')),
        ("nobody", (False, "error: health rpc probe failed: rpc error: code = NotFound desc = ")),
    ],
)
def test_a_service_says_how_it_is(port: int, service: str | None, expected: tuple[bool, str]) -> None:
    assert check(port, service) == expected


def test_a_server_without_health_says_so() -> None:
    with a_server(None) as port:
        passed, message = check(port)
    assert not passed
    assert message.startswith(
        "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
    )


class Slow(health_pb2_grpc.HealthServicer):
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def Check(self, request: object, context: object) -> object:
        self.go.wait(30)
        return Status(status=Status.SERVING)


def test_a_server_that_hangs_has_the_probes_time_and_no_more() -> None:
    servicer = Slow()
    with a_server(servicer) as port:
        began = time.monotonic()
        answer = check(port, seconds=0.3)
        took = time.monotonic() - began
        servicer.go.set()
    assert answer == (False, "timeout: health rpc did not complete within 0.3s")
    assert took < 2


@contextmanager
def a_socket(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def drip(connection: socket.socket) -> None:
    """A server that sends pings, one a moment, and never its answer."""
    frames = b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\x08\x06\0\0\0\0\0" * 1
    try:
        connection.sendall(frames)
        while True:
            connection.sendall(b"12345678" + b"\0\0\x08\x06\0\0\0\0\0")
            time.sleep(0.02)
    except OSError:
        return


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        (lambda connection: connection.recv(4096), "error: health rpc probe failed: "),
        (
            lambda connection: connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"),
            "error: health rpc probe failed: ",
        ),
        (drip, "timeout: health rpc did not complete within 0.5s"),
    ],
)
def test_what_is_no_grpc_server_fails_in_time(talk: Callable[[socket.socket], None], message: str) -> None:
    with a_socket(talk) as port:
        began = time.monotonic()
        passed, said = check(port, seconds=0.5)
    assert not passed and said.startswith(message)
    assert time.monotonic() - began < 2


def test_nobody_listening_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    passed, message = check(port)
    assert not passed and message.startswith(f'error: failed to connect service at "127.0.0.1:{port}"')
