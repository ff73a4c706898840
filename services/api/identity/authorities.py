"""The cluster's certificate authority: made at first start, signs the server's certificate and those of clients.

Its key lies in `<data-dir>/api/`, for the owner alone. The authority's name never changes, so that who has pinned an
older certificate of the same key goes on trusting it.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from events.files import write_once, write_private
from schemas.times import Milliseconds
from services.api.requests import User

AUTHORITY_DAYS = 3650
SERVER_DAYS = 365
RENEWED_BEFORE = timedelta(days=30)
"""A certificate that ends sooner is made anew."""
NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "127.0.0.1",
    "::1",
)
"""What every API server is called by those who reach it on its own machine, or from a pod."""
_CLOCKS_DIFFER = timedelta(days=1)
"""A certificate holds so long before it is made: a clock that is behind believes it too."""
_COMMON_NAME = "chronoset"

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
"""What is signed."""
Subject = list[x509.NameAttribute[str]]


@dataclass(frozen=True, slots=True)
class Authority:
    """A key that signs, and its certificate, which clients pin; `path` is where that lies."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    path: Path

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def authority_in(folder: Path, now: Milliseconds, name: str = _COMMON_NAME) -> Authority:
    """Return the authority that lies in a folder, made where there is none; of two who make one, one wins."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_path, path = folder / "ca.key", folder / "ca.crt"
    if not key_path.exists():
        write_once(key_path, _key_pem(ec.generate_private_key(ec.SECP256R1())))
    key = load_pem_private_key(key_path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    found = _certificate_in(path)
    if found is None or not _is_lasting(found, now) or found.public_key() != key.public_key():
        found = _authority_certificate(key, name, now)
        write_private(path, found.public_bytes(Encoding.PEM))
    return Authority(key, found, path)


def server_pem(authority: Authority, names: Iterable[str], now: Milliseconds) -> Path:
    """Return the file of the server's key and certificate, made anew where it ends soon or lacks a name."""
    path = authority.path.with_name("server.pem")
    wanted = {*NAMES, *names}
    found = _certificate_in(path)
    if found is None or not (
        _is_lasting(found, now) and _is_signed(found, authority) and wanted <= set(_names_of(found))
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")]
        write_private(path, _key_pem(key) + signed_server(authority, key.public_key(), subject, wanted, now))
    return path


def signed_server(
    authority: Authority, key: PublicKey, subject: Subject, names: Iterable[str], now: Milliseconds
) -> bytes:
    """Return the certificate, in PEM, of a server that has these names and addresses, for a year."""
    alternatives = x509.SubjectAlternativeName([_general(name) for name in sorted(names)])
    usage = (ExtendedKeyUsageOID.SERVER_AUTH, alternatives)
    made = _signed(authority, key, subject, usage, _period(now, timedelta(days=SERVER_DAYS)))
    return made.public_bytes(Encoding.PEM)


def keep_client(
    authority: Authority, path: Path, name: str, groups: Sequence[str], now: Milliseconds
) -> None:
    """Have a file with a client's certificate and key, for a year; made anew where it ends soon."""
    found = _certificate_in(path)
    if found is None or not (_is_lasting(found, now) and _is_signed(found, authority)):
        write_private(path, b"".join(client_pem(authority, name, groups, timedelta(days=SERVER_DAYS), now)))


def client_pem(
    authority: Authority, name: str, groups: Sequence[str], lifetime: timedelta, now: Milliseconds
) -> tuple[bytes, bytes]:
    """Return certificate and key of a user (CN) in groups (O), in PEM. It cannot be revoked: keep it short."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
    usage = (ExtendedKeyUsageOID.CLIENT_AUTH, None)
    made = _signed(authority, key.public_key(), subject, usage, _period(now, lifetime))
    return made.public_bytes(Encoding.PEM), _key_pem(key)


def user_of(der: bytes) -> tuple[User, Milliseconds]:
    """Return who a client's certificate names, and until when it holds (authentication/request/x509 CommonName)."""
    certificate = x509.load_der_x509_certificate(der)
    names = _values(certificate, NameOID.COMMON_NAME)
    groups = _values(certificate, NameOID.ORGANIZATION_NAME)
    ends = round(certificate.not_valid_after_utc.timestamp() * 1000)
    return User(names[0] if names else "", groups, authenticated="cert"), ends


def tls_context(authority: Authority, server: Path) -> ssl.SSLContext:
    """Return what a server speaks TLS by: clients may show a certificate, and one shown must be the authority's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(server)
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def names_of_machine() -> tuple[str, ...]:
    """Return the names and addresses by which others may reach this machine, as far as it knows them."""
    host = socket.gethostname()
    found = {host}
    with suppress(OSError):
        found |= {str(each[4][0]) for each in socket.getaddrinfo(host, None, socket.AF_INET)}
    return tuple(sorted(name for name in found if name))


def _authority_certificate(
    key: ec.EllipticCurvePrivateKey, common_name: str, now: Milliseconds
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    begins, ends = _period(now, timedelta(days=AUTHORITY_DAYS))
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _signed(
    authority: Authority,
    key: PublicKey,
    subject: Subject,
    usage: tuple[x509.ObjectIdentifier, x509.SubjectAlternativeName | None],
    period: tuple[datetime, datetime],
) -> x509.Certificate:
    purpose, alternatives = usage
    issuer = authority.key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(authority.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(period[0])
        .not_valid_after(period[1])
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
    )
    if alternatives is not None:
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _period(now: Milliseconds, lifetime: timedelta) -> tuple[datetime, datetime]:
    at = datetime.fromtimestamp(now / 1000, UTC)
    return at - _CLOCKS_DIFFER, at + lifetime


def _certificate_in(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _is_lasting(certificate: x509.Certificate, now: Milliseconds) -> bool:
    at = datetime.fromtimestamp(now / 1000, UTC)
    return certificate.not_valid_before_utc <= at < certificate.not_valid_after_utc - RENEWED_BEFORE


def _is_signed(certificate: x509.Certificate, authority: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is made anew
        return False
    return True


def _names_of(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(each.value) for each in found]


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _values(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(str(each.value) for each in certificate.subject.get_attributes_for_oid(oid))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
