"""The certificate of a node's server: its key is made here and never leaves, and the cluster signs it.

As the kubelet's serving certificate: asked for once the node has registered its addresses, kept over restarts, asked
for anew when four fifths of its time are over or the node has another address (kubelet/certificate/kubelet.go).
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from events.files import write_private
from schemas.errors import Unavailable
from schemas.times import Milliseconds

RENEWED_AFTER = 0.8
"""The part of a certificate's time after which another is asked for."""

Ask = Callable[[bytes], tuple[bytes, bytes]]
"""Gives a certificate request (PEM) to the cluster; returns the certificate and what signed it, in PEM."""


@dataclass(frozen=True, slots=True)
class Named:
    """Whose server a certificate is of: a node, at its address."""

    node: str
    address: str


class ServingCertificate:
    """What lies in `path`: a key, its certificate, and the authority whose clients are the API; for the owner alone.

    `tls` is what the server speaks TLS by, and shows each new certificate once that is there; None before the first.
    """

    def __init__(self, path: Path, named: Named, ask: Ask) -> None:
        self.tls: ssl.SSLContext | None = None
        self._path = path
        self._named = named
        self._ask = ask
        if _certificates_in(path):
            self._load()

    def refresh(self, now: Milliseconds) -> None:
        """Ask for another certificate, if there is none that is good. Raises what asking raises, OSError."""
        if _is_good(_certificates_in(self._path), self._named, now):
            return
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, authority = self._ask(_request_of(key, self._named))
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        draft = self._path.with_name(f"{self._path.name}.new")
        write_private(draft, secret + certificate + authority)
        if not _is_good(_certificates_in(draft), self._named, now):
            raise Unavailable("the cluster has signed another certificate than the one that was asked for")
        draft.replace(self._path)
        self._load()

    def _load(self) -> None:
        *_, authority = _certificates_in(self._path)
        tls = self.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(self._path)
        tls.load_verify_locations(cadata=authority.public_bytes(Encoding.PEM).decode())
        tls.verify_mode = ssl.CERT_REQUIRED
        self.tls = tls


def _request_of(key: ec.EllipticCurvePrivateKey, named: Named) -> bytes:
    names = [x509.DNSName(named.node), x509.IPAddress(ipaddress.ip_address(named.address))]
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    asked = asked.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return asked.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _is_good(found: list[x509.Certificate], named: Named, now: Milliseconds) -> bool:
    """Say whether a certificate, which its authority follows, is the server's and not due to be renewed."""
    if not found:
        return False
    own = found[0]
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    begins, ends = own.not_valid_before_utc, own.not_valid_after_utc
    return (
        names.get_values_for_type(x509.DNSName) == [named.node]
        and ipaddress.ip_address(named.address) in names.get_values_for_type(x509.IPAddress)
        and datetime.fromtimestamp(now / 1000, UTC) < begins + (ends - begins) * RENEWED_AFTER
    )


def _certificates_in(path: Path) -> list[x509.Certificate]:
    """Return a server's certificate and its authority's; none where the file is not there, or is not whole."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
    except (FileNotFoundError, ValueError, ssl.SSLError):
        return []
    return found if len(found) == 2 else []
