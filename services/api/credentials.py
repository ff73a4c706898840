"""The first version of who may come in: one administrator with a token, on a connection that TLS protects.

kubectl sends no token over plain HTTP, so there is a certificate: made at first start, known to clients from the
kubeconfig. All of it lies in `<data-dir>/api/`, for the owner alone.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from events.memory import wall_clock
from schemas.errors import Unauthorized
from services.api.requests import Caller, User

ADMIN = User("admin", ("system:masters", "system:authenticated"), authenticated="token")
YEARS = 10
_FOLDER = "api"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The administrator's token, and the files of the server's certificate and its key."""

    token: str
    certificate: Path
    key: Path

    def authenticate(self, caller: Caller) -> User:
        """Return the administrator for the token. Raises Unauthorized."""
        scheme, _, token = caller.authorization.partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.token.encode()):
            return ADMIN
        raise Unauthorized("Unauthorized")


def credentials_of(data_dir: Path) -> Credentials:
    """Return the credentials of a data directory, which are made where there are none."""
    folder = data_dir / _FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    token, certificate, key = folder / "token", folder / "tls.crt", folder / "tls.key"
    if not token.exists():
        write_private(token, secrets.token_urlsafe(32).encode())
    if not (certificate.exists() and key.exists()):
        made_certificate, made_key = _self_signed()
        write_private(key, made_key)
        write_private(certificate, made_certificate)
    return Credentials(token.read_text().strip(), certificate, key)


def kubeconfig_of(server: str, name: str, credentials: Credentials) -> bytes:
    """Return a kubeconfig for a server's URL; `name` is that of cluster, context and, with `-admin`, user."""
    import base64

    authority = base64.b64encode(credentials.certificate.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": f"{name}-admin", "user": {"token": credentials.token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin"}}],
        "current-context": name,
    }
    return yaml.safe_dump(config, sort_keys=False).encode()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; a reader sees the old one or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)


def _self_signed() -> tuple[bytes, bytes]:
    """Return a certificate for this machine's own addresses that vouches for itself, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chronoset")])
    now = datetime.fromtimestamp(wall_clock() / 1000, UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName(each)
        for each in ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
    ]
    names += [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1")]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private
