"""The nodes that the machine of `up` plays: their agents, in one process, each a client of the API in its node's name.

They have no more of the cluster than agents elsewhere: the API says in a file where it answers, and has made for each
node a certificate by which it knows it. Nothing here reaches the log's Redis or the queue's.
"""

from __future__ import annotations

import signal
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from schemas.errors import Unavailable
from services.agent.agent import Agent, wall_clock
from services.agent.allotments import Allotments
from services.agent.crews import Crew
from services.agent.dns import PublishedZone
from services.agent.host_paths import NETWORKS, place_of
from services.agent.nodes import NodeSettings, own_address
from services.agent.remote.connections import Api
from services.agent.remote.control_plane import ApiControlPlane
from services.agent.serving.doors import SOCKET_NAME, listening_at
from services.agent.serving.server import NodeServer
from services.bootstrap import known_log
from services.command_protocol import AUTHORITY, read_place
from services.headless import Record
from services.joining import HEARTBEATS_PER_GRACE, INSPECTION, LONGEST_PAUSE, holder_of
from services.node_protocol import IDENTITY_FILE
from services.runtimes import open_runtimes, with_runtime
from services.settings import API_FOLDER, Settings, wanted_nodes
from services.shutdowns import PODS_GRACE

FIRST_ANSWER = 30.0
"""Seconds that agents wait before they begin for an API that begins too; then they do what they do when it is away."""
FIRST_LOOKS = 0.02
CONNECT_SECONDS = 1.0


class OwnPlace:
    """Where the API of this data directory answers now, and what a node shows there (services.agent.remote Place).

    An API that begins anew may have another port; a certificate is renewed before it ends.
    """

    def __init__(self, folder: Path, identity: Path) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname = False  # the authority signs no other servers (services.joining, `trusting`)
        self._folder = folder
        self._identity = identity
        self._written = 0

    @property
    def url(self) -> str:
        place = read_place(self._folder)
        if place is None:
            raise Unavailable(f"no API says in {self._folder} that it answers")
        try:
            self._read_identity()
        except OSError as error:
            raise Unavailable(f"{self._identity}: cannot be shown to the API: {error}") from error
        return place.url

    def _read_identity(self) -> None:
        """Take what is new of the certificate and the authority. Raises OSError."""
        written = self._identity.stat().st_mtime_ns
        if written != self._written:
            self.tls.load_verify_locations(self._folder / AUTHORITY)
            self.tls.load_cert_chain(self._identity)
            self._written = written


class Planes:
    """The control plane as each of the machine's nodes reaches it. Any thread may ask."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.data_dir / API_FOLDER
        self._nodes = settings.data_dir / "nodes"
        self._holder = holder_of(settings.cluster, settings.data_dir)
        self._planes: dict[str, tuple[Api, ApiControlPlane]] = {}

    def of(self, node: str) -> ApiControlPlane:
        """Return a node's, made where there is none."""
        if node not in self._planes:
            api = Api(OwnPlace(self._folder, self._nodes / node / IDENTITY_FILE))
            self._planes[node] = (api, ApiControlPlane(api, node, self._holder))
        return self._planes[node][1]

    def let_go(self, node: str) -> None:
        """Watch nothing for a node any more."""
        api, plane = self._planes.pop(node)
        plane.close()
        api.close()

    def close(self) -> None:
        """Let go of all."""
        for node in list(self._planes):
            self.let_go(node)

    def published(self) -> tuple[Record, ...]:
        """Return what headless services publish, as the first of the nodes knows it. Raises Unavailable."""
        for _, plane in list(self._planes.values()):
            return plane.published()
        raise Unavailable("there is no node here that could ask for names")

    def displaced(self) -> list[Exception]:
        """Return why nodes are other agents' now: nothing may be done for those any more."""
        return [plane.displaced for _, plane in list(self._planes.values()) if plane.displaced is not None]


def run_machine_nodes(settings: Settings) -> None:
    """Run the agents of this machine's nodes until SIGTERM; then end their pods.

    Raises what an agent failed with, and Forbidden where another agent is one of the nodes; the pods run on then, for
    the agents that are started next. While the API is away, and where history is lost, agents hold still, and that
    is no failure.
    """
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    runtimes, planes, allotments = open_runtimes(with_runtime(settings)), Planes(settings), Allotments()
    runtimes.answer_names(PublishedZone(planes.published))

    def make(name: str) -> Agent:
        node = _node(settings, name, allotments)
        wanted = lambda: name in wanted_nodes(settings)  # noqa: E731
        return Agent(node, planes.of(name), partial(runtimes.make, node.directory), is_wanted=wanted)

    first = wanted_nodes(settings)

    def names() -> list[str]:
        """A node that is added waits until the API knows it, which sees to that at once."""
        return [each for each in wanted_nodes(settings) if each in first or _is_known(settings, each)]

    crew = Crew(names, make, stopping.set, planes.let_go)
    server = None
    if settings.socket_dir.is_dir():
        server = NodeServer(crew.view, wall_clock, listening_at(settings.socket_dir / SOCKET_NAME))
    crew.gather()
    _await_api(settings, first, stopping)
    failures = _follow(crew, planes, stopping)
    crew.stop(None if failures else PODS_GRACE)
    if server is not None:
        server.close()
    planes.close()
    runtimes.close()
    if failures:
        raise failures[0]


def _follow(crew: Crew, planes: Planes, stopping: threading.Event) -> list[Exception]:
    """Have an agent for each node until that is to stop; return what went wrong."""
    crew.follow()
    while not stopping.wait(INSPECTION) and not planes.displaced():
        crew.follow()
    return crew.failures() + planes.displaced()


def _node(settings: Settings, name: str, allotments: Allotments) -> NodeSettings:
    directory = (settings.data_dir / "nodes" / name).resolve()
    identity = f"{settings.cluster}/{known_log(settings.data_dir)}"
    return NodeSettings(
        name,
        directory,
        identity,
        address=own_address(identity, name),
        heartbeat_seconds=min(LONGEST_PAUSE, settings.node_grace / 1000 / HEARTBEATS_PER_GRACE),
        network_directory=place_of(directory, NETWORKS) if settings.network_agent else None,
        server_socket=SOCKET_NAME if settings.socket_dir.is_dir() else "",
        allotments=allotments,
    )


def _is_known(settings: Settings, node: str) -> bool:
    return (settings.data_dir / "nodes" / node / IDENTITY_FILE).exists()


def _await_api(settings: Settings, nodes: Sequence[str], stopping: threading.Event) -> None:
    """Wait until the API can be reached, and knows the nodes: agents that are refused ask again after a pause only."""
    deadline = time.monotonic() + FIRST_ANSWER
    while not stopping.is_set() and time.monotonic() < deadline:
        if all(_is_known(settings, each) for each in nodes) and _is_reached(settings):
            return
        stopping.wait(FIRST_LOOKS)


def _is_reached(settings: Settings) -> bool:
    place = read_place(settings.data_dir / API_FOLDER)
    if place is None:
        return False
    where = urlsplit(place.url)
    with suppress(OSError), socket.create_connection((where.hostname, where.port), CONNECT_SECONDS):
        return True
    return False
