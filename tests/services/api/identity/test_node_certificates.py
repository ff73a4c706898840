"""The certificates of nodes' servers: what is signed for whom, and who believes whom. Real TLS, in memory."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from events.memory import wall_clock
from schemas.errors import BadRequest, ChronosetError, Forbidden
from services.agent.serving.certificates import Named, ServingCertificate
from services.api.identity.authorities import Authority, authority_in, client_pem, server_pem
from services.api.identity.node_certificates import node_certificate, nodes_authority, renew, tls_of_api
from tests.services.api.identity.handshakes import shake_hands

ADDRESS = "10.0.0.4"
KEY = ec.generate_private_key(ec.SECP256R1())
General = x509.GeneralName


@pytest.fixture
def nodes(tmp_path: Path) -> Authority:
    return nodes_authority(tmp_path / "api", wall_clock())


def a_server(nodes: Authority, folder: Path, node: str = "n1") -> ssl.SSLContext:
    """Return what the server of a node speaks TLS by, whose certificate the authority has signed."""

    def ask(request: bytes) -> tuple[bytes, bytes]:
        return node_certificate(nodes, request, node, [ADDRESS], wall_clock()), nodes.pem

    certificate = ServingCertificate(folder / f"{node}.pem", Named(node, ADDRESS), ask)
    certificate.refresh(wall_clock())
    assert certificate.tls is not None
    return certificate.tls


def shaken(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "n1") -> str:
    """Shake hands, and return what the client hears then. Raises ssl.SSLError where either side does not believe."""
    ours, theirs = shake_hands(server, client, name)
    ours.write(b"well")
    return theirs.read(4).decode()


def a_client(trusted: Path, chain: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(trusted))
    if chain:
        context.load_cert_chain(chain)
    return context


def test_a_nodes_server_and_the_api_believe_one_another(nodes: Authority, tmp_path: Path) -> None:
    assert shaken(a_server(nodes, tmp_path), tls_of_api(nodes, wall_clock())) == "well"


def test_the_apis_certificate_is_made_anew_before_it_ends(nodes: Authority, tmp_path: Path) -> None:
    year, file = 365 * 86_400_000, nodes.path.with_name("client.pem")
    api = tls_of_api(nodes, wall_clock() - 2 * year)
    before = file.read_bytes()
    with pytest.raises(ssl.SSLError):
        shaken(a_server(nodes, tmp_path), api)
    renew(api, nodes, wall_clock())
    assert shaken(a_server(nodes, tmp_path), api) == "well"
    assert file.read_bytes() != before


def test_a_server_shows_its_new_certificate_without_a_restart(nodes: Authority, tmp_path: Path) -> None:
    def ask(request: bytes) -> tuple[bytes, bytes]:
        return node_certificate(nodes, request, "n1", [ADDRESS], wall_clock()), nodes.pem

    certificate = ServingCertificate(tmp_path / "n1.pem", Named("n1", ADDRESS), ask)
    certificate.refresh(wall_clock())
    server, api = certificate.tls, tls_of_api(nodes, wall_clock())
    assert server is not None
    before = shown(server, api)
    (tmp_path / "n1.pem").unlink()
    certificate.refresh(wall_clock())
    assert certificate.tls is server and shown(server, api) != before


def shown(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """Return the certificate that a server shows."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="n1")
    for _ in range(4):
        for side in (theirs, ours):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return theirs.getpeercert(binary_form=True) or b""


def test_another_nodes_server_is_not_believed_whatever_its_address(nodes: Authority, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'n2'"):
        shaken(a_server(nodes, tmp_path), tls_of_api(nodes, wall_clock()), "n2")


def test_nobody_but_the_api_is_answered(nodes: Authority, tmp_path: Path) -> None:
    server = a_server(nodes, tmp_path)
    a_server(nodes, tmp_path, "n2")
    cluster = authority_in(tmp_path / "api", wall_clock())
    certificate, key = client_pem(cluster, "admin", ("system:masters",), timedelta(days=1), wall_clock())
    admin = tmp_path / "admin.pem"
    admin.write_bytes(certificate + key)
    for chain in (None, tmp_path / "n2.pem", admin):
        with pytest.raises(ssl.SSLError):
            shaken(server, a_client(nodes.path, chain))


def test_a_nodes_certificate_does_not_pass_for_the_api(nodes: Authority, tmp_path: Path) -> None:
    """Agents look at who signed the API's certificate only, so a node's must be of another authority."""
    cluster = authority_in(tmp_path / "api", wall_clock())
    server = a_server(nodes, tmp_path)
    server.verify_mode = ssl.CERT_NONE
    careless = a_client(cluster.path)
    careless.check_hostname = False
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(server, careless)
    real = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    real.load_cert_chain(server_pem(cluster, (), wall_clock()))
    assert shaken(real, careless) == "well"


def a_request(names: Sequence[General] | None, key: Any = KEY) -> bytes:
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names is not None:
        asked = asked.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return asked.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def dns(name: str) -> General:
    return x509.DNSName(name)


def ip(address: str) -> General:
    return x509.IPAddress(ipaddress.ip_address(address))


def forged() -> bytes:
    """Return a request that somebody else's key has not signed."""
    whole = bytearray(x509.load_pem_x509_csr(a_request(GOOD)).public_bytes(Encoding.DER))
    whole[-1] ^= 1
    return ssl.DER_cert_to_PEM_cert(bytes(whole)).replace("CERTIFICATE", "CERTIFICATE REQUEST").encode()


GOOD = [dns("n1"), ip(ADDRESS)]


@pytest.mark.parametrize(
    ("request_of", "error", "said"),
    [
        (
            lambda: a_request([dns("n2"), ip(ADDRESS)]),
            Forbidden,
            "names 'n2': node 'n1' gets a certificate for its own",
        ),
        (
            lambda: a_request([*GOOD, dns("kubernetes")]),
            Forbidden,
            "names 'kubernetes', 'n1': node 'n1' gets",
        ),
        (lambda: a_request([ip(ADDRESS)]), Forbidden, "names (none): node 'n1'"),
        (
            lambda: a_request([dns("n1"), ip("10.0.0.5")]),
            Forbidden,
            "names the addresses '10.0.0.5': those of node 'n1' are '10.0.0.4', 'fd00::4', as its Node object says",
        ),
        (lambda: a_request([dns("n1")]), Forbidden, "names the addresses (none)"),
        (
            lambda: a_request([*GOOD, x509.RFC822Name("a@b.example")]),
            BadRequest,
            "names something else than the node",
        ),
        (lambda: a_request(None), BadRequest, "has no subject alternative names"),
        (lambda: a_request(GOOD, rsa.generate_private_key(65537, 1024)), BadRequest, "RSA of at least 2048"),
        (lambda: a_request(GOOD, ec.generate_private_key(ec.SECP192R1())), BadRequest, "at least 256 bits"),
        (lambda: b"", BadRequest, "is no certificate signing request"),
        (forged, BadRequest, "is no certificate signing request"),
    ],
)
def test_what_is_no_request_for_the_nodes_own_name_and_addresses_is_refused(
    nodes: Authority, request_of: Callable[[], bytes], error: type[ChronosetError], said: str
) -> None:
    with pytest.raises(error) as refused:
        node_certificate(nodes, request_of(), "n1", [ADDRESS, "FD00::4"], wall_clock())
    assert said in str(refused.value)


def test_a_certificate_is_of_a_server_only_and_says_what_is_known(nodes: Authority) -> None:
    request = a_request([dns("n1"), ip("fd00::4")])
    made = x509.load_pem_x509_certificate(
        node_certificate(nodes, request, "n1", [ADDRESS, "FD00::4"], wall_clock())
    )
    assert made.subject.rfc4514_string() == "O=system:nodes"
    assert made.issuer.rfc4514_string() == "CN=chronoset-nodes"
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [each.dotted_string for each in usage] == ["1.3.6.1.5.5.7.3.1"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
