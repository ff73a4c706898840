"""The cluster's authority: what it signs, when that is made anew, and who believes it. Real TLS, in memory."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.api.identity.authorities import (
    NAMES,
    Authority,
    authority_in,
    client_pem,
    names_of_machine,
    server_pem,
    tls_context,
    user_of,
)
from services.api.requests import User
from tests.services.api.identity.handshakes import shake_hands

DAY = 86_400_000
NOW = 1_795_435_200_000
YEAR = timedelta(days=365)


def shaken(authority: Authority, server: Path, client: ssl.SSLContext, name: str = "localhost") -> bytes:
    """Return the certificate that the server has of its client, after a handshake. Raises ssl.SSLError."""
    ours, _ = shake_hands(tls_context(authority, server), client, name)
    return ours.getpeercert(binary_form=True) or b""


def a_client(authority: Path, folder: Path, pem: tuple[bytes, bytes] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    if pem:
        (folder / "client.pem").write_bytes(pem[1] + pem[0])
        context.load_cert_chain(folder / "client.pem")
    return context


@pytest.fixture
def now() -> int:
    """Handshakes go by the machine's clock."""
    import time

    return time.time_ns() // 1_000_000


def test_a_client_who_pins_the_authority_is_answered_and_known(tmp_path: Path, now: int) -> None:
    authority = authority_in(tmp_path / "api", now)
    server = server_pem(authority, (), now)
    pem = client_pem(authority, "system:node:n1", ("system:nodes",), YEAR, now)

    shown = shaken(authority, server, a_client(authority.path, tmp_path, pem))

    assert user_of(shown)[0] == User("system:node:n1", ("system:nodes",), authenticated="cert")
    assert shaken(authority, server, a_client(authority.path, tmp_path)) == b""


@pytest.mark.parametrize("name", ["127.0.0.1", "kubernetes.default.svc", "db.example.org"])
def test_the_server_is_believed_by_all_its_names_and_no_other(tmp_path: Path, now: int, name: str) -> None:
    authority = authority_in(tmp_path / "api", now)
    client = a_client(authority.path, tmp_path)

    shaken(authority, server_pem(authority, ("db.example.org",), now), client, name)
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        shaken(authority, server_pem(authority, (), now), client, "elsewhere.example.org")


def test_another_authority_is_believed_by_nobody(tmp_path: Path, now: int) -> None:
    ours, theirs = authority_in(tmp_path / "a", now), authority_in(tmp_path / "b", now)
    server = server_pem(ours, (), now)

    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(ours, server, a_client(theirs.path, tmp_path))
    stranger = client_pem(theirs, "admin", ("system:masters",), YEAR, now)
    with pytest.raises(ssl.SSLError):
        shaken(ours, server, a_client(ours.path, tmp_path, stranger))


def test_the_servers_own_certificate_names_no_client(tmp_path: Path, now: int) -> None:
    authority = authority_in(tmp_path / "api", now)
    server = server_pem(authority, (), now)
    client = a_client(authority.path, tmp_path)
    client.load_cert_chain(server)

    with pytest.raises(ssl.SSLError):
        shaken(authority, server, client)


def test_everything_is_kept_from_one_start_to_the_next_and_is_its_owners_alone(tmp_path: Path) -> None:
    first = authority_in(tmp_path / "api", NOW)
    server = server_pem(first, ("a.example.org",), NOW)
    before = {path.name: path.read_bytes() for path in (tmp_path / "api").iterdir()}

    again = authority_in(tmp_path / "api", NOW + 300 * DAY)

    assert server_pem(again, ("a.example.org",), NOW + 300 * DAY) == server
    assert {path.name: path.read_bytes() for path in (tmp_path / "api").iterdir()} == before
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "api").iterdir()} == {0o600}
    assert (tmp_path / "api").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("why", ["it ends in less than a month", "it lacks a name", "of another authority"])
def test_the_servers_certificate_is_made_anew(tmp_path: Path, why: str) -> None:
    authority = authority_in(tmp_path / "api", NOW)
    before = server_pem(authority, (), NOW).read_bytes()
    later, names = NOW, ()
    if why == "it ends in less than a month":
        later = NOW + 336 * DAY
    elif why == "it lacks a name":
        names = ("new.example.org",)
    else:
        (tmp_path / "api" / "ca.key").unlink()
        authority = authority_in(tmp_path / "api", NOW)

    made = server_pem(authority, names, later).read_bytes()

    assert made != before
    certificate = x509.load_pem_x509_certificate(made)
    certificate.verify_directly_issued_by(authority.certificate)
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(each.value) for each in found} >= {*NAMES, *names}


def test_who_pinned_an_older_certificate_of_the_authority_goes_on_trusting(tmp_path: Path, now: int) -> None:
    before = authority_in(tmp_path / "api", now)
    pinned = tmp_path / "pinned"
    pinned.write_bytes(before.pem)
    (tmp_path / "api" / "ca.crt").unlink()

    renewed = authority_in(tmp_path / "api", now)

    assert renewed.pem != before.pem
    assert shaken(renewed, server_pem(renewed, (), now), a_client(pinned, tmp_path)) == b""


def test_a_certificate_says_until_when_it_holds(tmp_path: Path) -> None:
    authority = authority_in(tmp_path / "api", NOW)
    pem, _ = client_pem(authority, "bob", (), timedelta(hours=1), NOW)

    _, ends = user_of(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER))

    assert ends == NOW + 3_600_000


def test_a_machine_knows_a_name_of_its_own() -> None:
    assert all(names_of_machine())
