"""The API as a program: a replica with a ring, threads that write, a server that answers until it is told to end."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from events.commit import Edges, digest_of
from events.history import History
from events.log import Log
from events.replica import Replica
from events.state import State
from schemas.errors import BadRequest
from schemas.kinds import NODE
from schemas.objects import Object, name_of
from services.api.app import Api
from services.api.commands import CommandPath, CommandSources, NoRevisions, Revisions
from services.api.connections import Connection
from services.api.hub import Hub
from services.api.identity.token_requests import PART as TOKENS
from services.api.identity.token_requests import TokenRequests
from services.api.limits import InFlight, Limits
from services.api.node_leases import PLACE, NodeLeases
from services.api.node_paths import PATHS, Certify, NodePaths
from services.api.node_streams import LARGEST_MESSAGE, NodeAccess, NodeStreams
from services.api.pasts import Pasts
from services.api.reads import Reads
from services.api.rendering import Renderer
from services.api.ring import Ring
from services.api.seams import AtOnce, NotAtOnce, Policy
from services.api.verbs import Tools
from services.api.writes import ReplicaSources, Writes
from services.broker.leases import Heartbeats
from services.command_protocol import PATH as COMMANDS

PORT = 6443
"""What Kubernetes' API servers listen on; taken unless another program has it."""
READERS = 4
"""Threads that read the log's past, and ask where it ends where the event loop cannot: apart from the writers, which
may all be waiting."""
WRITERS = 8
"""Threads that carry out what is not quick, each with a connection of its own."""
KEEP_ALIVE = 300
"""Seconds that an idle connection is kept: longer than Go's clients keep theirs, so that it is they who close."""
FILES = 65_536
"""Files that may be open, connections among them, where the system allows as many."""
GRACE = 3
INSPECTION = 0.5
COLLECTION = 600.0
"""Seconds between two full collections: the replica keeps the collector off, and connections leave cycles behind."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API is made of: logs, where its edges are, what opens Secrets, what others decide by what is there."""

    open_log: Callable[[], Log]
    edges: Edges
    unseal: Callable[[Object], Object]
    policy: Callable[[Replica], Policy] = lambda _: Policy()
    limits: Limits = field(default_factory=Limits)
    heartbeats: Heartbeats | None = None
    authority: bytes = b""
    """The certificate authority's certificate, in PEM, for those who join."""
    certify: Certify | None = None
    history: Callable[[Log], History] = History
    """What reads the past of a log."""
    nodes: NodeAccess | None = None
    """How the servers of nodes are reached, for logs and commands."""
    of_values: Callable[[bytes], str] = digest_of
    """Digests commands that carry a Secret's values."""
    revisions: Callable[[], Revisions] = NoRevisions
    """Where the revisions are that history has truncated."""
    at_once: AtOnce = field(default_factory=NotAtOnce)
    """The log as the event loop asks it."""
    answering: Callable[[], AbstractContextManager[None]] = nullcontext
    """Says that this server answers, as long as it does."""


class Server:
    """The API over a log: `application` is what answers, and follows the log as long as it runs."""

    def __init__(self, parts: Parts) -> None:
        log = parts.open_log()
        state = log.snapshot() or State()
        self.hub = Hub(Ring(state.position))
        self.replica = Replica(log, state, on_applied=self.hub.receive)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="api-reads")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="api-writes")
        sources = ReplicaSources(self.replica, parts.unseal)
        self._at_once = at_once = parts.at_once
        writes = Writes(parts.open_log, at_once, sources, parts.edges, self._writers)
        in_flight = InFlight(parts.limits)
        history = parts.history(parts.open_log())
        self.reads = reads = Reads(history, self.replica, self.hub, at_once, self._readers)
        reads.heartbeats = parts.heartbeats
        policy = self._with_commands(self._with_nodes(parts, writes, in_flight), parts, writes, in_flight)
        tools = Tools(
            reads=reads,
            writes=writes,
            renderer=Renderer(parts.unseal, parts.edges.clock),
            in_flight=in_flight,
            policy=_with_streams(policy, parts.nodes, reads, in_flight),
        )
        pasts = Pasts(history, reads, self._readers, parts.edges.clock)
        self._answering = parts.answering
        self.application: ASGIApp = Api(tools, self.replica, pasts).application(self._running)
        self.on_failure: Callable[[], None] = lambda: None

    def _with_nodes(self, parts: Parts, writes: Writes, in_flight: InFlight) -> Policy:
        """Return the policy, and with it what nodes need beside Kubernetes' API."""
        policy, heartbeats = parts.policy(self.replica), parts.heartbeats
        leases = NodeLeases(heartbeats, self._nodes, parts.edges.clock) if heartbeats else None
        paths = NodePaths(
            policy.authenticate,
            in_flight,
            writes,
            self.replica,
            self.hub,
            leases,
            parts.authority,
            parts.certify,
        )
        tokens = TokenRequests(writes, parts.edges.clock)
        return replace(
            policy,
            parts={**policy.parts, TOKENS: tokens},
            paths={**policy.paths, **paths.handlers()},
            open_paths=policy.open_paths | set(PATHS),
            places={**policy.places, PLACE: leases} if leases else policy.places,
        )

    def _with_commands(self, policy: Policy, parts: Parts, writes: Writes, in_flight: InFlight) -> Policy:
        """Return the policy, and with it what the command line needs."""
        sources = CommandSources(self.replica, parts.unseal, parts.revisions)
        path = CommandPath(policy, in_flight, writes, sources, parts.edges, parts.of_values)
        return replace(
            policy,
            paths={**policy.paths, **path.handlers()},
            open_paths=policy.open_paths | {COMMANDS},
        )

    def _nodes(self) -> dict[str, str]:
        """Return the nodes' names, and when each was registered."""
        with self.replica.reading() as state:
            nodes = state.list(NODE.resource)
        return {name_of(node): node["metadata"].get("creationTimestamp", "") for node in nodes}

    @asynccontextmanager
    async def _running(self, _app: Starlette) -> AsyncIterator[None]:
        self.hub.open(asyncio.get_running_loop())
        self.replica.start()
        inspecting = asyncio.create_task(self._inspect())
        try:
            with self._answering():
                yield
        finally:
            inspecting.cancel()
            self.hub.close()
            self._at_once.close()
            await asyncio.to_thread(self.replica.stop)
            for threads in (self._readers, self._writers):
                threads.shutdown(wait=False, cancel_futures=True)

    async def _inspect(self) -> None:
        """Wake the watches that are due, say when the replica has failed, collect what the collector would have."""
        seconds = 0.0
        while True:
            await asyncio.sleep(INSPECTION)
            seconds += INSPECTION
            self.hub.tick(time.monotonic())
            if self.replica.failure is not None:
                self.on_failure()
            if seconds >= COLLECTION:
                seconds = 0.0
                gc.unfreeze()
                gc.collect()
                gc.freeze()


def _with_streams(policy: Policy, nodes: NodeAccess | None, reads: Reads, in_flight: InFlight) -> Policy:
    """Return the policy, and with it what of pods only their nodes have."""
    if nodes is None:
        return policy
    streams = NodeStreams(nodes, reads, policy.authorize, in_flight)
    return replace(
        policy,
        parts={**policy.parts, **streams.parts()},
        sockets={**policy.sockets, **streams.sockets()},
    )


class _Uvicorn(uvicorn.Server):
    """A server that ends its watches first when it is told to end; they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._hub.loop is not None:
            self._hub.loop.call_soon_threadsafe(self._hub.close)


def serve(server: Server, listening: socket.socket, tls: ssl.SSLContext) -> None:
    """Answer on a socket until SIGTERM. Raises what the replica failed with."""
    raise_file_limit()
    server.replica.load()
    running = running_on(server, tls)
    running.run(sockets=[listening])
    if server.replica.failure is not None:
        raise server.replica.failure


def raise_file_limit() -> None:
    """Let this process have as many files open as it may: each watch is one, and shells begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def running_on(server: Server, tls: ssl.SSLContext | None = None) -> uvicorn.Server:
    """Return what answers for a server whose replica is loaded; without TLS over plain HTTP."""
    config = uvicorn.Config(
        server.application,
        loop="uvloop",
        http=Connection,
        ws="websockets-sansio",
        ws_max_size=LARGEST_MESSAGE,
        ws_per_message_deflate=False,
        ws_ping_timeout=None,  # a client whose input nobody reads cannot answer; a dead one cannot be sent to
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # whoever is on this machine could tell another address than his own
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
    )
    running = _Uvicorn(config, server.hub)

    def end() -> None:
        running.should_exit = True
        server.hub.close()

    server.on_failure = end
    return running


def listen(wanted: int, before: int = 0, address: str = "127.0.0.1") -> socket.socket:
    """Return a listening socket on the port that is wanted; 0: the one from before, 6443, or any that is free.

    Raises BadRequest where the port that is wanted is taken.
    """
    for port in (wanted,) if wanted else dict.fromkeys((before or PORT, PORT, 0)):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            listening.bind((address, port))
            listening.listen(2048)
            return listening
        listening.close()
    raise BadRequest(f"--api-port: {wanted} is taken on {address}; name another, or 0 for any that is free")
