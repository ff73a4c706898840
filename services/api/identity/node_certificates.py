"""The certificates between the API and the nodes' servers, of an authority apart from the cluster's.

Apart, because whoever trusts the cluster's authority takes any server of it for the API. This one signs servers of
nodes and one client, the API: so whoever shows a client's certificate to a node is the API, and a node, or a user with
a certificate of the cluster's, is not.

A node's server is asked for under the node's name, which the node's token proves; addresses are what a node says of
itself, so nothing rests on them.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Collection
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from schemas.errors import BadRequest, Forbidden
from schemas.times import Milliseconds
from services.api.identity.authorities import Authority, PublicKey, authority_in, keep_client, signed_server
from services.api.identity.nodes import GROUP, PREFIX
from services.node_protocol import IDENTITY_FILE
from services.node_servers import API_FILE, NODES_FOLDER, tls_to_nodes

LARGEST_REQUEST = 1 << 14
MOST_ADDRESSES = 16
_NAME = "chronoset-nodes"
_API = "kube-apiserver-kubelet-client"
_LEAST_BITS = {"rsa": 2048, "ec": 256}


def nodes_authority(folder: Path, now: Milliseconds) -> Authority:
    """Return the authority of the nodes' servers, which lies in the API's folder."""
    return authority_in(folder / NODES_FOLDER, now, _NAME)


def tls_of_api(authority: Authority, now: Milliseconds) -> ssl.SSLContext:
    """Return what the API asks nodes by; its certificate is made anew where it ends soon."""
    _keep(authority, now)
    return tls_to_nodes(authority.path.parent)


def renew(tls: ssl.SSLContext, authority: Authority, now: Milliseconds) -> None:
    """Let what asks nodes show a certificate that does not end soon."""
    tls.load_cert_chain(_keep(authority, now))


def keep_identity(authority: Authority, node: str, folder: Path, now: Milliseconds) -> None:
    """Have in a node's folder what the API knows it by, signed by the cluster's authority, as kubelets have."""
    folder.mkdir(parents=True, exist_ok=True)
    keep_client(authority, folder / IDENTITY_FILE, f"{PREFIX}{node}", (GROUP,), now)


def node_certificate(
    authority: Authority, request: bytes, node: str, addresses: Collection[str], now: Milliseconds
) -> bytes:
    """Return the certificate, in PEM, that a node asks for, for a year.

    `request` is a certificate signing request, in PEM, for the node's name and one or more of its `addresses`, and
    nothing else (pkg/apis/certificates/helpers.go, ValidateKubeletServingCSR). Its subject is not looked at: the
    certificate says what is known. Raises BadRequest for what is no such request, Forbidden for another's names.
    """
    asked = _read(request)
    key = _key_of(asked)
    names, wanted = _names_of(asked)
    if names != {node}:
        raise Forbidden(
            f"the certificate request names {_shown(names)}: node {node!r} gets a certificate for its own name only"
        )
    known = {_canonical(each) for each in addresses}
    if not wanted <= known or not wanted:
        raise Forbidden(
            f"the certificate request names the addresses {_shown(wanted)}: those of node {node!r} are "
            f"{_shown(known)}, as its Node object says"
        )
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, GROUP)]
    return signed_server(authority, key, subject, names | wanted, now)


def _keep(authority: Authority, now: Milliseconds) -> Path:
    """Return the file by which nodes' servers know the API."""
    path = authority.path.with_name(API_FILE)
    keep_client(authority, path, _API, (), now)
    return path


def _read(request: bytes) -> x509.CertificateSigningRequest:
    try:
        asked = x509.load_pem_x509_csr(request)
        if asked.is_signature_valid:
            return asked
    except (ValueError, UnsupportedAlgorithm):
        pass
    raise BadRequest("request: is no certificate signing request in PEM (PKCS#10) signed by its own key")


def _key_of(asked: x509.CertificateSigningRequest) -> PublicKey:
    """Return the key to sign. Raises BadRequest for one that is too weak, or of a kind that not all TLS knows."""
    key = asked.public_key()
    for kind, name in ((ec.EllipticCurvePublicKey, "ec"), (rsa.RSAPublicKey, "rsa")):
        if isinstance(key, kind) and key.key_size >= _LEAST_BITS[name]:
            assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
            return key
    raise BadRequest(
        "request: its key must be an elliptic curve's of at least 256 bits, or RSA of at least 2048"
    )


def _names_of(asked: x509.CertificateSigningRequest) -> tuple[set[str], set[str]]:
    """Return the DNS names and the addresses that are asked for. Raises BadRequest where there is anything else."""
    try:
        found = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise BadRequest("request: has no subject alternative names: a node's name and addresses") from error
    names = {str(each.value) for each in found if isinstance(each, x509.DNSName)}
    addresses = {str(each.value) for each in found if isinstance(each, x509.IPAddress)}
    if len(names) + len(addresses) != len(found) or len(addresses) > MOST_ADDRESSES:
        raise BadRequest(
            f"request: names something else than the node and up to {MOST_ADDRESSES} addresses, each once"
        )
    return names, addresses


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def _shown(names: Collection[str]) -> str:
    return ", ".join(repr(each[:80]) for each in sorted(names)) or "(none)"
