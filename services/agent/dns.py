"""A small name server for the pods of one machine, beside their hosts files: for programs that speak DNS themselves.

It listens on a loopback address over UDP and TCP, and pods find it as `$CHRONOSET_DNS` (host:port). It knows the names
of headless services and nothing else: no question is passed on, so what is not ours is refused, and a program's
resolver goes on to its next server. Answers may be kept for a second; one that says no carries no SOA and may not be
kept at all (RFC 2308).
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog
from dnslib import EDNS0, QTYPE, RCODE, RR, SRV, A, DNSError, DNSRecord

from schemas.errors import ChronosetError, Unavailable
from services.agent.zones import Zone, zone_of
from services.headless import DOMAIN, Record

ADDRESS = "127.0.0.1"
TTL = 1
"""Seconds an answer may be kept."""
FRESH_SECONDS = 0.1
"""A zone is made anew at most this often."""
PLAIN_SIZE, LARGEST_SIZE = 512, 1232
"""How large a UDP answer may be: as DNS began, and what surely passes every path (DNS flag day 2020)."""
PATIENCE = 5.0
"""Seconds that a TCP client may take for a question."""
MOST_CLIENTS = 64
PORT_ATTEMPTS = 16

_log = structlog.get_logger("chronoset.dns")


class PublishedZone:
    """The zone as of now; made anew when it is asked for and other names are published. For one thread at a time.

    `published` is a control plane's, and may raise as that does.
    """

    def __init__(self, published: Callable[[], tuple[Record, ...]], domain: str = DOMAIN) -> None:
        self._published = published
        self._domain = domain
        self._lock = threading.Lock()
        self._records: tuple[Record, ...] | None = None
        self._made_at = 0.0
        self._zone: Zone | None = None

    def __call__(self) -> Zone:
        """Return the zone; what was known last where the control plane does not answer. Raises Unavailable."""
        with self._lock:
            if self._zone is None or time.monotonic() - self._made_at >= FRESH_SECONDS:
                with suppress(ChronosetError):
                    self._make()
            if self._zone is None:
                raise Unavailable("the control plane does not answer, and nothing is known from before")
            return self._zone

    def _make(self) -> None:
        records = self._published()
        if records != self._records:
            self._zone, self._records = zone_of(records, self._domain), records
        self._made_at = time.monotonic()


class NameServer:
    """Answers in a thread of its own until `close`. `place` is host:port: `port` or else the same as last time, where
    that is free."""

    def __init__(
        self, zone: Callable[[], Zone], port_file: Path, address: str = ADDRESS, port: int = 0
    ) -> None:
        self._zone = zone
        self._udp, self._tcp = _listen(address, port or _remembered_port(port_file))
        self.place = f"{address}:{self._udp.getsockname()[1]}"
        with suppress(OSError):
            port_file.write_text(self.place.rpartition(":")[2])
        self._ours, self._theirs = socket.socketpair()
        self._clients = threading.BoundedSemaphore(MOST_CLIENTS)
        self._thread = threading.Thread(target=self._serve, name="dns", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._ours.close()
        self._thread.join()
        for each in (self._theirs, self._udp, self._tcp):
            each.close()

    def _serve(self) -> None:
        selector = selectors.DefaultSelector()
        for each in (self._udp, self._tcp, self._theirs):
            selector.register(each, selectors.EVENT_READ)
        with selector:
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._theirs in ready:
                    return
                with suppress(OSError):
                    if self._udp in ready:
                        self._answer_datagram()
                    if self._tcp in ready:
                        self._accept()

    def _answer_datagram(self) -> None:
        question, client = self._udp.recvfrom(4096)
        if reply := answer(question, self._zone, PLAIN_SIZE):
            self._udp.sendto(reply, client)

    def _accept(self) -> None:
        connection, _ = self._tcp.accept()
        if not self._clients.acquire(blocking=False):
            connection.close()
            return
        threading.Thread(target=self._converse, args=(connection,), name="dns-client", daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        """Answer one question after the other, each with its length before it (RFC 1035 4.2.2)."""
        try:
            with connection, suppress(OSError, EOFError):
                connection.settimeout(PATIENCE)
                while True:
                    (length,) = struct.unpack("!H", _read_exactly(connection, 2))
                    reply = answer(_read_exactly(connection, length), self._zone)
                    if not reply:
                        return
                    connection.sendall(struct.pack("!H", len(reply)) + reply)
        finally:
            self._clients.release()


def answer(question: bytes, zone: Callable[[], Zone], size: int = 0) -> bytes:
    """Return the answer to a message; nothing where it is none that may be answered.

    `size` is what the transport carries at least; an answer too large for it and for what the client says that it
    takes (EDNS0) is only marked as truncated, so that the client asks again over TCP. 0: any size.
    """
    try:
        request = DNSRecord.parse(question)
    except (DNSError, ValueError, IndexError, struct.error):
        return b""
    if request.header.qr:
        return b""
    reply = request.reply(ra=0)
    extension = next((record for record in request.ar if record.rtype == QTYPE.OPT), None)
    if extension is not None:
        reply.add_ar(EDNS0(udp_len=LARGEST_SIZE))
        size = size and max(size, min(extension.rclass, LARGEST_SIZE))
    if request.header.opcode != 0:
        reply.header.rcode = RCODE.NOTIMP
    elif len(request.questions) != 1:
        reply.header.rcode = RCODE.FORMERR
    else:
        try:
            _fill(reply, request, zone())
        except Unavailable as error:
            _log.warning("a name was asked for too early", error=str(error))
            reply.header.rcode = RCODE.SERVFAIL
    packed = bytes(reply.pack())
    return bytes(reply.truncate().pack()) if size and len(packed) > size else packed


def _fill(reply: DNSRecord, request: DNSRecord, zone: Zone) -> None:
    """Write what the zone says into the reply."""
    question = request.q
    name = str(question.qname).rstrip(".").lower()
    if not zone.has_authority_over(name):
        reply.header.aa = 0
        reply.header.rcode = RCODE.REFUSED
    elif name not in zone.known:
        reply.header.rcode = RCODE.NXDOMAIN
    elif question.qtype == QTYPE.A:
        for address in zone.addresses.get(name, ()):
            reply.add_answer(RR(question.qname, QTYPE.A, rdata=A(address), ttl=TTL))
    elif question.qtype == QTYPE.SRV:
        targets = zone.targets.get(name, ())
        for target in targets:
            rdata = SRV(priority=0, weight=100, port=target.port, target=target.host)
            reply.add_answer(RR(question.qname, QTYPE.SRV, rdata=rdata, ttl=TTL))
        for host in dict.fromkeys(target.host for target in targets):
            for address in zone.addresses[host]:
                reply.add_ar(RR(host, QTYPE.A, rdata=A(address), ttl=TTL))


def _listen(address: str, wish: int) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a TCP socket of one port: `wish` if that is free, else any. Raises Unavailable."""
    for port in (wish, *[0] * PORT_ATTEMPTS):
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((address, port))
            udp.bind((address, tcp.getsockname()[1]))
            tcp.listen(MOST_CLIENTS)
        except OSError:
            tcp.close()
            udp.close()
        else:
            return udp, tcp
    raise Unavailable(f"no port of {address} is free for both UDP and TCP")


def _remembered_port(port_file: Path) -> int:
    """Return the port of last time, which pods that still run were told; 0 where there is none."""
    try:
        port = int(port_file.read_text())
    except (OSError, ValueError):
        return 0
    return port if 0 < port < 1 << 16 else 0


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data
