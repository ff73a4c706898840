"""What an API server looks after while it runs: its certificate, the administrator's kubeconfig, what it publishes."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from events.commit import Committer, Edges, Intent, Proposal
from events.files import write_private
from events.log import Log
from events.replica import Replica
from schemas.changes import Change
from schemas.envelopes import Actor
from schemas.errors import ChronosetError
from schemas.objects import Object
from schemas.times import Milliseconds
from services.api.identity.authorities import (
    Authority,
    authority_in,
    client_pem,
    names_of_machine,
    server_pem,
    tls_context,
)
from services.api.identity.bindings import MASTERS
from services.api.identity.kubeconfigs import encoded, kubeconfig
from services.api.identity.node_certificates import (
    keep_identity,
    node_certificate,
    nodes_authority,
    renew,
    tls_of_api,
)
from services.api.identity.tokens import Endings
from services.api.published import Place, publications
from services.command_protocol import CREDENTIALS

ADMIN = "admin"
EVERY = 10.0
"""Seconds between two looks at what is published (the interval of Kubernetes' own)."""
RENEWED_EVERY = 86_400.0
ADMIN_LIFETIME = timedelta(days=365)
PATIENCE = 5.0
_EVERYWHERE = ("0.0.0.0", "::", "")

_log = structlog.get_logger()


class Keeper:
    """Keeps an API server of a cluster known and trusted.

    `folder` holds the authority, for its owner alone. `names` are more by which the server is reached.
    """

    def __init__(
        self, folder: Path, cluster: str, address: tuple[str, int], edges: Edges, names: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self._cluster = cluster
        self._edges = edges
        host, self._port = address
        self._names = (*names_of_machine(), *names, *((host,) if host not in _EVERYWHERE else ()))
        self._host = "127.0.0.1" if host in _EVERYWHERE else host
        self._authority = authority_in(folder, edges.clock())
        self._nodes = nodes_authority(folder, edges.clock())
        self.tls_to_nodes = tls_of_api(self._nodes, edges.clock())
        """What nodes' servers are asked by."""
        self.tls = tls_context(self._authority, server_pem(self._authority, self._names, edges.clock()))

    @property
    def authority(self) -> bytes:
        """The certificate of the cluster's authority, in PEM."""
        return self._authority.pem

    def certify(self, request: bytes, node: str, addresses: Collection[str]) -> tuple[bytes, bytes]:
        """Return the certificate that a node asks for, and that of its authority (see node_certificate)."""
        made = node_certificate(self._nodes, request, node, addresses, self._edges.clock())
        return made, self._nodes.pem

    @property
    def url(self) -> str:
        """By which this machine's programs reach the server."""
        return f"https://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"

    def write_kubeconfig(self, path: Path) -> None:
        """Write the administrator's kubeconfig, with a certificate of a year; the command line's copy of that, too."""
        lifetime, now = ADMIN_LIFETIME, self._edges.clock()
        certificate, key = client_pem(self._authority, ADMIN, (MASTERS,), lifetime, now)
        credentials = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
        user = f"{self._cluster}-{ADMIN}"
        write_private(self.folder / CREDENTIALS, certificate + key)
        write_private(path, kubeconfig(self.url, self._authority.pem, self._cluster, user, credentials))

    def identities(self, folder: Path, nodes: Callable[[], Sequence[str]]) -> Identities:
        """Return what gives an identity to each of this machine's `nodes`, in its folder below `folder`."""
        return Identities(self._authority, folder, nodes, self._edges.clock)

    def _renew(self, path: Path) -> None:
        self.tls.load_cert_chain(server_pem(self._authority, self._names, self._edges.clock()))
        renew(self.tls_to_nodes, self._nodes, self._edges.clock())
        self.write_kubeconfig(path)

    @contextmanager
    def keeping(
        self,
        kubeconfig_path: Path,
        log: Callable[[], Log],
        replica: Replica,
        unseal: Callable[[Object], Object],
    ) -> Iterator[None]:
        """Publish, renew what ends, and take away what is over, in a thread of its own until the block ends."""
        stopping = threading.Event()
        run = partial(self._run, stopping, kubeconfig_path, log(), replica, unseal)
        thread = threading.Thread(target=run, name="keeper", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join(PATIENCE)

    def _run(
        self,
        stopping: threading.Event,
        path: Path,
        log: Log,
        replica: Replica,
        unseal: Callable[[Object], Object],
    ) -> None:
        committer = Committer(log, replica, lambda position: _wait(replica, position), self._edges)
        place = Place(self._host, self._port, self._authority.pem.decode())
        published = partial(publications, place, replica)
        ended = Endings(replica, unseal, self._edges.clock)
        waited = 0.0
        while True:
            try:
                _wait(replica, log.last())
                for decide in (published, ended):
                    _commit(decide, committer)
                if waited >= RENEWED_EVERY:
                    waited = 0.0
                    self._renew(path)
            except (ChronosetError, OSError) as error:
                _log.warning("could not look after the API's place", error=str(error))
            if stopping.wait(EVERY):
                return
            waited += EVERY


class Identities:
    """Has what the API knows the nodes of its own machine by, as soon as they are on the list, and before it ends."""

    def __init__(
        self,
        authority: Authority,
        folder: Path,
        nodes: Callable[[], Sequence[str]],
        clock: Callable[[], Milliseconds],
    ) -> None:
        self._authority = authority
        self._folder = folder
        self._nodes = nodes
        self._clock = clock
        self._known: tuple[str, ...] = ()
        self._renew_at: Milliseconds = 0

    def look(self) -> None:
        """Make those that are wanting; the next look tries again what could not be written."""
        nodes, now = tuple(self._nodes()), self._clock()
        if nodes == self._known and now < self._renew_at:
            return
        try:
            for node in nodes:
                keep_identity(self._authority, node, self._folder / node, now)
        except OSError as error:
            _log.warning("the identities of nodes could not be written", error=str(error))
            return
        self._known, self._renew_at = nodes, now + round(RENEWED_EVERY * 1000)


def _commit(decide: Callable[[], list[Change]], committer: Committer) -> None:
    if decide():
        intent = Intent(Actor("system:apiserver", "socket"), uuid.uuid4().hex)
        committer.commit(lambda: Proposal(decide()), intent)


def _wait(replica: Replica, position: int) -> None:
    replica.wait_for(position, PATIENCE)
