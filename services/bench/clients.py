"""Clients of the API that cost next to nothing: requests made beforehand, answers known by their length.

They share two cores with what they measure, so they parse no more than they must (some 40 us a request, TLS and the
kernel's part included); what they used is told beside each number.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from schemas.errors import Unavailable
from services.loadtest.api_clients import Place

PATIENCE = 30.0
_READ_SIZE = 16 * 1024
"""What a record of TLS holds at most."""
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "


class Client:
    """A connection that is kept, with one request at a time on its way."""

    def __init__(self, place: Place) -> None:
        plain = socket.create_connection((place.host, place.port), PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = place.tls.wrap_socket(plain, server_hostname=place.host)
        self.tls.setblocking(False)
        self.sent = 0.0
        self.head = b""
        self._missing = 0

    def send(self, request: bytes) -> None:
        """Send a request, which is small enough to go at once."""
        self.head, self._missing, self.sent = b"", 0, time.perf_counter()
        if self.tls.send(request) != len(request):
            raise Unavailable("a request does not fit into a socket's buffer")

    def is_answered(self) -> bool:
        """Take what has come; say whether the answer is whole. Raises Unavailable unless it is a good one."""
        while data := self.received():
            self._missing -= len(data)
            if self._missing < 0:
                self._begin(self.head + data)
            if self.head and not self._missing:
                return True
        return False

    def received(self) -> bytes:
        """Return some of what has come; nothing where no more is there for now."""
        try:
            data = self.tls.recv(_READ_SIZE)
        except ssl.SSLWantReadError:
            return b""
        if not data:
            raise Unavailable("the API has hung up")
        return data

    def close(self) -> None:
        self.tls.close()

    def _begin(self, data: bytes) -> None:
        self.head = data
        end = data.find(_HEAD_END)
        if end < 0:
            return
        if data[9:10] != b"2":
            raise Unavailable(f"the API answered {data[9:500].decode(errors='replace')}")
        at = data.index(_LENGTH) + len(_LENGTH)
        self._missing = end + len(_HEAD_END) + int(data[at : data.index(b"\r", at)]) - len(data)


class Watch(Client):
    """A connection on which a watch goes on. It is answered once what is waited for has come."""

    def __init__(self, place: Place, request: bytes) -> None:
        super().__init__(place)
        self._wanted = _HEAD_END
        self._tail = b""
        self.send(request)

    def expect(self, wanted: bytes) -> None:
        """From now on wait for these bytes."""
        self._wanted, self._tail = wanted, b""

    def is_answered(self) -> bool:
        while data := self.received():
            self._tail += data
            if self._wanted in self._tail:
                return True
        return False


AnyClient = TypeVar("AnyClient", bound=Client)


class Driven(NamedTuple):
    """How long each request took, in seconds, and all of them together; the CPU seconds that their clients used."""

    each: list[float]
    seconds: float
    cpu: float


def drive(clients: Sequence[Client], requests: Iterable[bytes]) -> Driven:
    """Send requests, over each client the next one as soon as its last is answered. Raises Unavailable."""
    rest, each = iter(requests), []
    with _selecting(clients) as select:
        begun, cpu = time.perf_counter(), time.process_time()
        busy = sum(_sent_next(client, rest) for client in clients)
        while busy:
            for client in select():
                if client.is_answered():
                    each.append(time.perf_counter() - client.sent)
                    busy -= not _sent_next(client, rest)
        return Driven(each, time.perf_counter() - begun, time.process_time() - cpu)


def await_all(clients: Sequence[Client]) -> float:
    """Wait until each is answered; return the moment of the last one (perf_counter)."""
    with _selecting(clients) as select:
        missing = set(clients)
        while missing:
            for client in select():
                if client.is_answered():
                    missing.discard(client)
        return time.perf_counter()


def _sent_next(client: Client, rest: Iterator[bytes]) -> bool:
    request = next(rest, None)
    if request is not None:
        client.send(request)
    return request is not None


@contextmanager
def _selecting(clients: Sequence[AnyClient]) -> Iterator[Callable[[], list[AnyClient]]]:
    """Give what returns the clients that have something to read. It raises Unavailable where nothing comes."""
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.tls, selectors.EVENT_READ, client)

        def select() -> list[AnyClient]:
            found = selector.select(PATIENCE)
            if not found:
                raise Unavailable(f"the API has not answered within {PATIENCE:.0f} s")
            return [key.data for key, _ in found]

        yield select
