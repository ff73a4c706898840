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

import structlog

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
from services.runtimes import Runtimes, open_runtimes, with_runtime
from services.settings import API_FOLDER, Settings, wanted_nodes
from services.shutdowns import PODS_GRACE

FIRST_ANSWER = 30.0
"""Seconds that agents wait before they begin for an API that begins too; then they do what they do when it is away."""
FIRST_LOOKS = 0.02
REST = 5.0
"""Seconds after which a node that another agent is, too, asks again whether it still is."""
CONNECT_SECONDS = 1.0

_log = structlog.get_logger()


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

    def displaced(self) -> dict[str, Exception]:
        """Return the nodes that are other agents' now, and why: nothing may be done for those any more."""
        planes = list(self._planes.items())
        return {node: plane.displaced for node, (_, plane) in planes if plane.displaced is not None}


class Machine:
    """Which nodes this machine plays now, and the agent that each of them gets."""

    def __init__(self, settings: Settings, planes: Planes, runtimes: Runtimes) -> None:
        self.first = wanted_nodes(settings)
        """Those that it begins with."""
        self._settings = settings
        self._planes = planes
        self._runtimes = runtimes
        self._allotments = Allotments()
        self._resting: dict[str, float] = {}

    def names(self) -> list[str]:
        """Return the nodes that are to have an agent. One that is added waits until the API knows it, which is soon."""
        now = time.monotonic()
        awake = [each for each in wanted_nodes(self._settings) if self._resting.get(each, 0.0) <= now]
        return [each for each in awake if each in self.first or _is_known(self._settings, each)]

    def make(self, name: str) -> Agent:
        """Return the agent of a node."""
        node = _node(self._settings, name, self._allotments)
        make_runtime = partial(self._runtimes.make, node.directory)
        is_wanted = partial(self._is_wanted, name)
        return Agent(node, self._planes.of(name), make_runtime, is_wanted=is_wanted)

    def follow(self, crew: Crew) -> None:
        """Have the agents that are wanted, and let those rest whose nodes are others'."""
        for name, why in self._planes.displaced().items():
            _log.error("another agent is this node", node=name, error=str(why), again_in=REST)
            self._resting[name] = time.monotonic() + REST
            crew.rest(name)
        crew.follow()

    def _is_wanted(self, name: str) -> bool:
        return name in wanted_nodes(self._settings)


def run_machine_nodes(settings: Settings) -> None:
    """Run the agents of this machine's nodes until SIGTERM; then end their pods.

    Raises what an agent failed with; the pods run on then, for the agents that are started next. While the API is
    away, and where history is lost, agents hold still, and that is no failure; nor is it that another agent is one of
    the nodes: that one rests, and asks again later.
    """
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    runtimes, planes = open_runtimes(with_runtime(settings)), Planes(settings)
    runtimes.answer_names(PublishedZone(planes.published))
    machine = Machine(settings, planes, runtimes)
    crew = Crew(machine.names, machine.make, stopping.set, planes.let_go)
    server = None
    if settings.socket_dir.is_dir():
        server = NodeServer(crew.view, wall_clock, listening_at(settings.socket_dir / SOCKET_NAME))
    crew.gather()
    _await_api(settings, machine.first, stopping)
    machine.follow(crew)
    while not stopping.wait(INSPECTION):
        machine.follow(crew)
    failures = crew.failures()
    crew.stop(None if failures else PODS_GRACE)
    if server is not None:
        server.close()
    planes.close()
    runtimes.close()
    if failures:
        raise failures[0]


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
