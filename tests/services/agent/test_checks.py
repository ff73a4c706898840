"""Probes of real sockets: what passes, and that none takes longer than it may."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from schemas.errors import Unavailable
from schemas.objects import Object
from services.agent.checks import run_check
from services.agent.runtimes.port import Answer
from tests.services.agent.builders import a_container

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that says `talk` to one client; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def check(
    action: Object, execute: Callable[[list[str]], Answer] = lambda _: Answer(0, "")
) -> tuple[bool, str]:
    ports = [{"name": "web", "containerPort": 1}]
    return run_check(a_container(ports=ports), {"timeoutSeconds": 1, **action}, "127.0.0.1", execute)


@pytest.mark.parametrize(
    ("response", "passes"),
    [
        (OK, True),
        (b"HTTP/1.0 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n", True),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False),
        (b"HTTP/1.1 503 \r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"HTTP/1.1 two hundred\r\n", False),
        (b"", False),
    ],
)
def test_a_status_from_200_to_399_passes(response: bytes, passes: bool) -> None:
    with serving(lambda connection: connection.sendall(response)) as port:
        assert check({"httpGet": {"path": "/", "port": port}})[0] is passes


def test_a_server_that_answers_byte_by_byte_has_no_more_time_than_others() -> None:
    def dribble(connection: socket.socket) -> None:
        for byte in OK * 2:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                return
            time.sleep(0.2)

    began = time.monotonic()
    with serving(dribble) as port:
        assert check({"httpGet": {"path": "/", "port": port}}) == (False, "timed out")
        assert time.monotonic() - began < 1.5


def test_a_server_that_never_closes_is_not_waited_for_once_its_status_is_known() -> None:
    over = threading.Event()

    def linger(connection: socket.socket) -> None:
        connection.sendall(OK)
        over.wait(5)

    began = time.monotonic()
    with serving(linger) as port:
        assert check({"httpGet": {"path": "/", "port": port}})[0]
        assert time.monotonic() - began < 0.8
        over.set()


@pytest.mark.parametrize(
    "action",
    [
        {"httpGet": {"path": "/", "port": "nobody"}},
        {"httpGet": {"path": "/", "port": 1, "httpHeaders": [{"name": "x", "value": "a\r\nb"}]}},
        {"tcpSocket": {"port": 1}},
        {"exec": {"command": ["false"]}},
        {"grpc": {"port": 1}},
    ],
    ids=["unknown port", "impossible header", "refused", "exec", "unsupported"],
)
def test_what_goes_wrong_is_a_failure_with_a_reason(action: Object) -> None:
    passed, message = check(action, lambda _: Answer(1, "no good\n"))
    assert not passed and message


def test_a_runtime_that_does_not_answer_is_a_failure() -> None:
    def unavailable(_: list[str]) -> Answer:
        raise Unavailable("the zygote does not answer")

    assert check({"exec": {"command": ["true"]}}, unavailable) == (False, "the zygote does not answer")
