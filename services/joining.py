"""How a machine becomes a node of a cluster elsewhere: whom it trusts, who it is there, and the agent that it runs.

As kubeadm does it: the join command carries the hash of the cluster's authority, so that a machine in between cannot
pass for the cluster, and a token of a bounded life, which is given for an identity of this one node. That is kept in
the data directory; the token is not needed again.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import signal
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from events.files import write_private
from schemas.errors import BadRequest, ChronosetError, Forbidden, Unauthorized, Unavailable
from services.agent.agent import Agent, steady_clock, wall_clock
from services.agent.dns import PublishedZone
from services.agent.host_paths import NETWORKS, place_of
from services.agent.nodes import NodeSettings, own_address
from services.agent.remote.clocks import ClusterClock
from services.agent.remote.connections import Api, Server
from services.agent.remote.control_plane import ApiControlPlane
from services.agent.serving.certificates import Named, ServingCertificate
from services.agent.serving.doors import listening_on
from services.agent.serving.networked import NetworkedServer
from services.data_dirs import lock_data_dir
from services.health_files import clear_health_file, telling
from services.node_protocol import AUTHORITY_PATH, CERTIFICATE_PATH, JOIN_PATH
from services.runtimes import Runtimes, open_runtimes, remember_runtime, with_runtime
from services.settings import Settings
from services.shutdowns import PODS_GRACE, finish
from services.sockets import make_socket_dir, remove_socket_dir

FILE = "joined.json"
CERTIFICATE_FILE = "serving.pem"
HEARTBEATS_PER_GRACE = 4
LONGEST_PAUSE = 5.0
PATIENCE = 10.0
INSPECTION = 0.25
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_MACHINE_ID = Path("/etc/machine-id")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Membership:
    """What a machine keeps of having joined: where the API is, whom it trusts, which node it is there.

    url             `https://host:port`
    authority       the certificate authority's certificate, in PEM; empty for plain HTTP on this machine
    token           the node's own
    address         of the node, by which others reach its pods
    grace_seconds   how long it may be silent before it is NotReady
    instance        tells this data directory from any other that says it is the node
    """

    url: str
    authority: str
    node: str
    token: str
    address: str
    grace_seconds: float
    instance: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a join command says: where, by which token, and whom to trust there (a hash, or a file)."""

    url: str
    token: str
    ca_hash: str = ""
    ca_file: Path | None = None


def read_membership(data_dir: Path) -> Membership | None:
    """Return what the data directory knows; None where it has never joined. Raises BadRequest where it is damaged."""
    try:
        return Membership(**json.loads((data_dir / FILE).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise BadRequest(f"{data_dir / FILE}: cannot be read ({error}): remove it, and join again") from error


def write_membership(data_dir: Path, membership: Membership) -> None:
    """Keep it for the owner alone; a reader sees the old one or the new one."""
    write_private(data_dir / FILE, json.dumps(asdict(membership), indent=1).encode())


def checked_url(url: str) -> str:
    """Return the URL of an API. Raises BadRequest: a token crosses a network under TLS only."""
    try:
        parts = urlsplit(url)
        is_good = bool(parts.hostname) and (parts.port is None or parts.port > 0) and parts.path in ("", "/")
    except ValueError:
        is_good = False
    if not is_good or parts.scheme not in ("http", "https"):
        raise BadRequest(f"URL: {url[:100]!r} is no API: write https://host:6443")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise BadRequest(
            f"URL: {url[:100]!r} is open to the network, which would see the token: write https://"
        )
    return url.rstrip("/")


def join(invitation: Invitation, node: str, address: str, data_dir: Path) -> Membership:
    """Exchange a join token for the identity of a node, and keep it.

    Raises BadRequest, Unauthorized (the token is over or unknown), PreconditionFailed (the name is another agent's),
    Forbidden (whoever answers is not the cluster), Unavailable.
    """
    url = checked_url(invitation.url)
    authority = _authority(invitation, url)
    instance = uuid.uuid4().hex
    before = read_membership(data_dir)
    if before is not None and before.node == node:
        instance = before.instance
    api = Api(Server(url, trusting(authority)), invitation.token)
    try:
        answer = api.ask("POST", JOIN_PATH, {"node": node, "holder": holder_of(instance, data_dir)})
    except Unauthorized:
        raise Unauthorized(
            "--token: the cluster does not know it, or it is over: `chronoset agent token create` there makes another"
        ) from None
    finally:
        api.close()
    address = address or address_towards(url)
    grace = float(answer["graceSeconds"])
    membership = Membership(url, authority, node, str(answer["token"]), address, grace, instance)
    (data_dir / CERTIFICATE_FILE).unlink(missing_ok=True)  # it may be of a cluster that is no more
    write_membership(data_dir, membership)
    return membership


def hash_of(authority: str) -> str:
    """Return `sha256:<hex>` of a certificate's public key (kubeadm: discovery-token-ca-cert-hash)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_pem_x509_certificate

    key = load_pem_x509_certificate(authority.encode()).public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(info).hexdigest()}"


def trusting(authority: str) -> ssl.SSLContext | None:
    """Return what trusts servers of the authority and no others; None for plain HTTP.

    It signs API servers and clients, and only a server's certificate is good for a server: so whichever address
    leads to one, it is the cluster.
    """
    if not authority:
        return None
    context = ssl.create_default_context(cadata=authority)
    context.check_hostname = False
    return context


def address_towards(url: str) -> str:
    """Return this machine's address on the way to a URL's host."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, parts.port or 6443))
        except OSError as error:
            raise Unavailable(f"URL: no way leads to {host}: {error}") from error
        return str(probe.getsockname()[0])


def checked_address(address: str) -> str:
    """Return an address of this machine. Raises BadRequest."""
    try:
        found = ipaddress.ip_address(address)
        with socket.socket(socket.AF_INET6 if found.version == 6 else socket.AF_INET) as probe:
            probe.bind((address, 0))
    except (ValueError, OSError):
        raise BadRequest(
            f"--node-ip: {address[:60]!r} is no address of this machine: see `ip address`"
        ) from None
    return address


def holder_of(instance: str, data_dir: Path) -> str:
    """Return what tells this agent from every other: a copy of its data directory elsewhere is another."""
    machine = ""
    with suppress(OSError):
        machine = _MACHINE_ID.read_text().strip()
    told = f"{instance} {machine} {socket.gethostname()} {data_dir.resolve()}"
    return f"{socket.gethostname()}/{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def run_member(settings: Settings, keeps_pods: bool = False) -> None:
    """Run the agent of a machine that has joined, until SIGTERM; then end its pods, unless it `keeps_pods`.

    Raises Forbidden where another agent is this node, what the agent failed with, AlreadyExists where the data
    directory is in use.
    """
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    settings = replace(settings, data_dir=settings.data_dir.resolve())
    membership = read_membership(settings.data_dir)
    if membership is None:
        raise BadRequest(
            f"{settings.data_dir}: has not joined a cluster: run `chronoset agent join URL --token TOKEN`"
        )
    if settings.health_file:
        clear_health_file(settings.health_file)
    lock = lock_data_dir(settings.data_dir)
    make_socket_dir(settings.socket_dir)
    runtimes = open_runtimes(with_runtime(settings), not is_loopback(membership.address))
    remember_runtime(with_runtime(settings))
    try:
        _run(settings, membership, runtimes, stopping, None if keeps_pods else PODS_GRACE)
        if not keeps_pods:
            finish(settings)
    finally:
        runtimes.close()
        remove_socket_dir(settings.socket_dir)
        os.close(lock)


def _run(
    settings: Settings,
    membership: Membership,
    runtimes: Runtimes,
    stopping: threading.Event,
    pods_grace: float | None,
) -> None:
    place, heard = Server(membership.url, trusting(membership.authority)), telling(settings.health_file)
    clock = steady_clock()
    api = Api(place, membership.token, ClusterClock(clock), heard)
    control_plane = ApiControlPlane(api, membership.node, holder_of(membership.instance, settings.data_dir))
    try:
        _claim(control_plane, membership, stopping)
        runtimes.answer_names(PublishedZone(control_plane.published))
        node = _node(settings, membership)
        listening = _listening(node.address)
        if listening is not None:
            node = replace(node, server_port=listening.getsockname()[1])
        agent = Agent(node, control_plane, partial(runtimes.make, node.directory), clock)
        agent.start(on_end=stopping.set)
        with _served(agent, listening, settings.data_dir / CERTIFICATE_FILE, api):
            while not stopping.wait(INSPECTION) and control_plane.displaced is None:
                pass
            failure = agent.failure or control_plane.displaced
            agent.stop(None if failure else pods_grace)
            agent.join((pods_grace or 0.0) + PATIENCE)
    finally:
        control_plane.close()
        api.close()
    if failure:
        raise failure


def _claim(control_plane: ApiControlPlane, membership: Membership, stopping: threading.Event) -> None:
    """Say that this agent is the node. An API that is away now is no reason not to go on with the pods that run.

    Raises Forbidden where another agent is it.
    """
    if stopping.is_set():
        return
    try:
        control_plane.heartbeat(membership.node)
    except Forbidden:
        raise
    except ChronosetError as error:
        _log.warning("the cluster does not answer; going on with what it said before", error=str(error))


def _listening(address: str) -> socket.socket | None:
    """Return where the node's server listens; None where it cannot, which is no reason not to run pods."""
    try:
        return listening_on(address)
    except Unavailable as error:
        _log.warning("logs and exec do not reach this node", error=str(error))
        return None


@contextmanager
def _served(agent: Agent, listening: socket.socket | None, certificate: Path, api: Api) -> Iterator[None]:
    """Serve the logs and commands of an agent's pods to the API, until the block ends."""
    if listening is None:
        yield
        return
    named = Named(agent.settings.name, agent.settings.address)
    signed = ServingCertificate(certificate, named, partial(certify, api))
    server = NetworkedServer(agent.view, wall_clock, listening, signed)
    try:
        yield
    finally:
        server.close()


def certify(api: Api, request: bytes) -> tuple[bytes, bytes]:
    """Have a certificate request signed by the cluster. Raises as `ask`, Unavailable for an answer that is none."""
    answer = api.ask("POST", CERTIFICATE_PATH, {"request": request.decode()})
    try:
        return answer["certificate"].encode(), answer["authority"].encode()
    except (KeyError, AttributeError) as error:
        raise Unavailable("the cluster's answer to a certificate request is none") from error


def _node(settings: Settings, membership: Membership) -> NodeSettings:
    """Return what the node is. One that has joined over loopback has an address there to itself."""
    directory = settings.data_dir / "nodes" / membership.node
    directory.mkdir(parents=True, exist_ok=True)
    is_apart = not is_loopback(membership.address)
    identity = f"{membership.url}/{membership.instance}"
    return NodeSettings(
        membership.node,
        directory,
        identity,
        address=membership.address if is_apart else own_address(identity, membership.node),
        heartbeat_seconds=min(LONGEST_PAUSE, (membership.grace_seconds or 40.0) / HEARTBEATS_PER_GRACE),
        network_directory=place_of(directory, NETWORKS) if settings.network_agent else None,
        shares_address=is_apart,
    )


def _authority(invitation: Invitation, url: str) -> str:
    """Return the authority to trust, in PEM: of the file, or what the cluster shows, if it has the hash."""
    if url.startswith("http://"):
        return ""
    if invitation.ca_file is not None:
        try:
            authority = invitation.ca_file.read_text()
            hash_of(authority)
        except (OSError, ValueError) as error:
            raise BadRequest(f"--ca: {str(invitation.ca_file)!r} is no certificate: {error}") from error
        return authority
    if not _HASH.fullmatch(invitation.ca_hash):
        raise BadRequest(
            f"--ca-hash: {invitation.ca_hash[:80]!r} is no hash of an authority: write sha256: and 64 hexadecimal "
            "digits, as `chronoset agent token create` prints them, or --ca FILE"
        )
    shown = _shown_authority(url)
    if (found := hash_of(shown)) != invitation.ca_hash:
        raise Forbidden(
            f"--ca-hash: whoever answers at {url} has the authority {found}: it is not the cluster"
        )
    return shown


def is_loopback(host: str) -> bool:
    """Say whether a name or address leads to this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown_authority(url: str) -> str:
    """Return what a server shows as its authority, before it is known whether that is to be trusted."""
    import httpx

    try:
        answer = httpx.get(f"{url}{AUTHORITY_PATH}", verify=False, timeout=PATIENCE, trust_env=False)
        answer.raise_for_status()
        hash_of(answer.text)
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise Unavailable(f"the API at {url} does not show its authority: {error}") from error
    return answer.text
