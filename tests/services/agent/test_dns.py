"""The name server, asked over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dnslib import EDNS0, QR, QTYPE, RCODE, DNSRecord

from schemas.errors import Unavailable
from schemas.objects import with_fields
from services.agent.dns import NameServer, PublishedZone, answer
from services.agent.zones import Zone, zone_of
from services.headless import Port, Record
from tests.services.agent.builders import a_container, a_pod, a_service
from tests.services.agent.fakes import MemoryControlPlane, eventually

DB = "db.default.svc.cluster.local"
HTTP = Port("http", "TCP", 8080)
RECORDS = (
    Record("127.1.1.1", "db-0", "db", "default", (HTTP,)),
    Record("127.1.1.2", "db-1", "db", "default", (HTTP,)),
    Record("127.1.1.3", "", "db", "default", (Port("", "UDP", 9),)),
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NameServer]:
    server = NameServer(lambda: zone_of(RECORDS), tmp_path / "dns-port")
    yield server
    server.close()


def ask(server: NameServer, name: str, kind: str = "A", tcp: bool = False) -> DNSRecord:
    host, port = server.place.split(":")
    return DNSRecord.parse(DNSRecord.question(name, kind).send(host, int(port), tcp=tcp, timeout=5))


def addresses(reply: DNSRecord) -> list[str]:
    return [str(record.rdata) for record in reply.rr if record.rtype == QTYPE.A]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_a_pod_has_an_address_and_its_service_all_of_them(server: NameServer, tcp: bool) -> None:
    reply = ask(server, f"db-1.{DB}", tcp=tcp)
    assert addresses(reply) == ["127.1.1.2"]
    assert reply.header.aa and not reply.header.ra and reply.rr[0].ttl == 1
    assert addresses(ask(server, DB, tcp=tcp)) == ["127.1.1.1", "127.1.1.2", "127.1.1.3"]
    assert addresses(ask(server, f"127-1-1-3.{DB}", tcp=tcp)) == ["127.1.1.3"]


def test_names_are_the_same_in_capitals(server: NameServer) -> None:
    reply = ask(server, f"DB-1.{DB.upper()}")
    assert addresses(reply) == ["127.1.1.2"] and str(reply.rr[0].rname) == f"DB-1.{DB.upper()}."


def test_named_ports_have_srv_records_with_the_addresses_beside_them(server: NameServer) -> None:
    reply = ask(server, f"_http._tcp.{DB}", "SRV")
    assert [(str(each.rdata.target), each.rdata.port) for each in reply.rr] == [
        (f"db-0.{DB}.", 8080),
        (f"db-1.{DB}.", 8080),
    ]
    assert [str(each.rdata) for each in reply.ar] == ["127.1.1.1", "127.1.1.2"]
    assert len(ask(server, DB, "SRV").rr) == 3


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        (f"db-7.{DB}", "A", "NXDOMAIN"),
        ("web.default.svc.cluster.local", "A", "NXDOMAIN"),
        (f"_http._udp.{DB}", "SRV", "NXDOMAIN"),
        (f"db-0.{DB}", "AAAA", "NOERROR"),
        (f"_http._tcp.{DB}", "A", "NOERROR"),
        ("svc.cluster.local", "A", "NOERROR"),
        ("example.com", "A", "REFUSED"),
        ("notcluster.local", "A", "REFUSED"),
        (".", "A", "REFUSED"),
    ],
)
def test_what_is_not_there_is_said_as_resolvers_understand_it(
    server: NameServer, name: str, kind: str, code: str
) -> None:
    reply = ask(server, name, kind)
    assert RCODE[reply.header.rcode] == code and reply.rr == []
    assert bool(reply.header.aa) is (code != "REFUSED")


def test_a_name_is_fresh_within_a_second(tmp_path: Path) -> None:
    control = MemoryControlPlane()
    control.put(a_service(ports=[{"name": "web", "port": 80, "targetPort": "http"}]))
    ports = [{"name": "http", "containerPort": 8080}]
    pod = a_pod("db-0", a_container(ports=ports), labels={"app": "db"}, hostname="db-0", subdomain="db")
    ready = {"phase": "Running", "podIP": "127.5.5.5", "conditions": [{"type": "Ready", "status": "True"}]}
    server = NameServer(PublishedZone(control.published), tmp_path / "dns-port")
    try:
        assert addresses(ask(server, f"db-0.{DB}")) == []
        control.put(with_fields(pod, status=ready))
        eventually(lambda: addresses(ask(server, f"db-0.{DB}")) == ["127.5.5.5"], 1)
        assert ask(server, f"_web._tcp.{DB}", "SRV").rr[0].rdata.port == 8080
        control.put(with_fields(pod, status={**ready, "conditions": []}))
        eventually(lambda: ask(server, f"db-0.{DB}").header.rcode == RCODE.NXDOMAIN, 1)
        control.put(with_fields(pod, status=ready))
        eventually(lambda: addresses(ask(server, DB)), 1)
        control.refuse_with(Unavailable("gone"))
        eventually(lambda: addresses(ask(server, DB)) == ["127.5.5.5"] and control.refused, 1)
    finally:
        server.close()


def test_nothing_known_yet_is_a_failure_not_a_no() -> None:
    control = MemoryControlPlane()
    control.refuse_with(Unavailable("gone"))
    reply = DNSRecord.parse(answer(DNSRecord.question(DB).pack(), PublishedZone(control.published)))
    assert reply.header.rcode == RCODE.SERVFAIL


def test_a_large_answer_is_cut_over_udp_and_whole_over_tcp(tmp_path: Path) -> None:
    many = [replace(RECORDS[0], address=f"127.1.1.{n}", host=f"db-{n}") for n in range(60)]
    server = NameServer(lambda: zone_of(many), tmp_path / "dns-port")
    try:
        cut = ask(server, DB)
        assert cut.header.tc and not cut.rr
        assert len(addresses(ask(server, DB, tcp=True))) == 60
    finally:
        server.close()


def test_a_client_that_takes_more_gets_more() -> None:
    many = [replace(RECORDS[0], address=f"127.1.1.{n}", host=f"db-{n}") for n in range(40)]
    question = DNSRecord.question(DB)
    question.add_ar(EDNS0(udp_len=4096))
    reply = DNSRecord.parse(answer(question.pack(), lambda: zone_of(many), 512))
    assert len(addresses(reply)) == 40 and any(each.rtype == QTYPE.OPT for each in reply.ar)


@pytest.mark.parametrize("garbage", [b"", b"x", b"\0" * 12, b"\xff" * 40, bytes(range(64))])
def test_garbage_does_not_end_the_server(server: NameServer, garbage: bytes) -> None:
    host, port = server.place.split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(garbage, (host, int(port)))
    with socket.create_connection((host, int(port))) as tcp:
        tcp.sendall(garbage)
    assert addresses(ask(server, f"db-0.{DB}")) == ["127.1.1.1"]


def test_an_answer_is_never_answered() -> None:
    echo = DNSRecord.question(DB)
    echo.header.qr = QR["RESPONSE"] if isinstance(QR, dict) else 1
    assert answer(echo.pack(), Zone) == b""


def test_the_port_stays_the_same_over_a_restart_where_it_is_free(tmp_path: Path) -> None:
    """Pods that outlived the agents were told that port."""
    first = NameServer(Zone, tmp_path / "dns-port")
    second = NameServer(Zone, tmp_path / "dns-port")
    assert second.place != first.place
    first.close()
    second.close()
    third = NameServer(Zone, tmp_path / "dns-port")
    assert third.place == second.place
    third.close()
    (tmp_path / "dns-port").write_text("no port")
    NameServer(Zone, tmp_path / "dns-port").close()
