"""The composition root: which clients, log, queue and controllers each program gets. Nothing else builds them."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import dramatiq
import structlog

from events.archived_log import ArchivedLog
from events.commit import Edges
from events.files import write_private
from events.memory import wall_clock
from events.piped_log import PipedLog
from events.redis_log import RedisLog
from events.replica import Replica
from events.sealing import Sealer
from events.secrets import Keyring
from schemas.kinds import NODE
from schemas.objects import name_of
from schemas.positions import Position
from schemas.times import Milliseconds
from services.archives import (
    archived,
    history_of,
    index_of,
    limits_of,
    remember_place,
    retention_of,
    store_of,
)
from services.bootstrap import prepare_log
from services.broker.hints import Hints
from services.broker.keys import Keys
from services.broker.leases import Heartbeats, Lease, queue_epoch
from services.broker.repeaters import Repeater
from services.broker.streams import Limits, StreamsBroker
from services.clusters import remember_cluster
from services.command_protocol import Place, answering, answers_since, log_of
from services.connections import connect, reaching
from services.controllers.controller import Controller
from services.controllers.daemonset import DAEMONSET
from services.controllers.disruption import DISRUPTION
from services.controllers.endpoints import ENDPOINTS
from services.controllers.finished import finished
from services.controllers.garbage import GARBAGE
from services.controllers.namespaces import NAMESPACES
from services.controllers.nodes import NODES, heartbeats
from services.controllers.statefulset import STATEFULSET
from services.controllers.volumes import VOLUMES
from services.dispatcher import Dispatcher, Queue
from services.health_files import telling
from services.historian import LEASE_TTL_MS, Historian
from services.machine_nodes import run_machine_nodes
from services.metrics import readings
from services.metrics.gathering import registry_of
from services.metrics.logs import MeasuredLog, MeasuredPipedLog
from services.metrics.serving import serve_on_port
from services.programs import Program
from services.projections import projector
from services.projections.generations import Generations
from services.projections.reader import Views
from services.pulses import deaf, listen
from services.scheduler.controller import scheduler
from services.servers import check_durability
from services.settings import API_FOLDER, DEFAULT_FINISHED_PODS, KUBECONFIG, Settings, wanted_nodes
from services.shutdowns import PODS_GRACE
from services.worker import TOGETHER, Reconciler

CONTROLLERS: tuple[Controller[Any], ...] = (
    STATEFULSET,
    DAEMONSET,
    scheduler(),
    GARBAGE,
    VOLUMES,
    NODES,
    DISRUPTION,
    NAMESPACES,
    ENDPOINTS,
    finished(DEFAULT_FINISHED_PODS),
    heartbeats(deaf),
)
"""All controllers. What a program needs of the last one is its key; a worker's own listens (`fitted`)."""
WORKERS = 2
STEP_BACK = 5
"""How nice those are who follow the log and decide: who takes a write or answers a question comes first."""
LOG_PATIENCE = 30.0
"""Seconds a program tries to reach a log that is away before a call of it fails."""
API_PATIENCE = 5.0
"""Seconds the API tries to reach the log before it answers 503: its clients ask again by themselves."""
METRICS_PATIENCE = 1.0
"""Seconds that somebody who asks for metrics waits for a log that is away."""
LEISURE = 0.25
"""Seconds between two reads of a worker's replica while it has nothing to look at."""
FAILURE_CHECK = 2.0
"""Seconds between two looks of an idle worker at whether its replica still follows."""

IDENTITIES_MS = 250
"""Milliseconds between two looks at which nodes of this machine the API is to know."""

_log = structlog.get_logger()


def open_log(settings: Settings, name: str, patience: float = LOG_PATIENCE) -> ArchivedLog:
    """Return the cluster's log, whose older part may be in the archive."""
    return archived(open_stream(settings, name, patience), settings)


def open_stream(settings: Settings, name: str, patience: float = LOG_PATIENCE) -> RedisLog:
    """Return what the log's server holds. Its client does not retry: the log re-sends under command ids.

    It counts what is appended only where somebody may ask for it.
    """
    client, heard = connect(settings.log_url, name, retries=0), telling(settings.health_file)
    log = MeasuredLog if settings.metrics_port else RedisLog
    return log(client, settings.cluster, patience, heard=heard)


def open_pipe(settings: Settings, name: str) -> PipedLog:
    """Return the log as an event loop asks it, counting as `open_stream`'s does."""
    client, heard = connect(settings.log_url, name, retries=0), telling(settings.health_file)
    log = MeasuredPipedLog if settings.metrics_port else PipedLog
    return log(client, settings.cluster, heard)


def edges_of(settings: Settings) -> Edges:
    """Return the clock, uids and sealing that commits of this process use."""
    return Edges(seal=Keyring(settings.keys_dir).seal)


def prepare(settings: Settings, accepts_loss: bool = False) -> None:
    """Refuse a log server that could forget; create the log where there never was one, and the first namespaces."""
    with reaching("the log's server", settings.log_url), connect(settings.log_url, "init", 1) as client:
        check_durability(client, settings.durability)
    remember_place(settings)
    log = open_log(settings, "init")
    try:
        prepare_log(log, settings.data_dir, edges_of(settings), accepts_loss)
        remember_cluster(settings.data_dir, settings.cluster)
    finally:
        log.close()


def run_dispatcher(settings: Settings, controllers: Sequence[Controller[Any]] = CONTROLLERS) -> None:
    """Run a dispatcher until SIGTERM."""
    client = connect(settings.queue_url, "dispatcher")
    keys = Keys(settings.cluster)
    queue = Queue(
        Hints(client, keys),
        Lease(client, keys.lease("dispatcher"), f"{socket.gethostname()}:{os.getpid()}"),
        partial(queue_epoch, client, keys),
    )
    ours = fitted(controllers, finished(settings.finished_pods))
    dispatcher = Dispatcher(open_log(settings, "dispatcher"), queue, ours)
    broker = StreamsBroker(client, keys, middleware=[])
    heard = Heartbeats(client, keys, settings.node_grace)
    readings.show(
        _lag(settings, dispatcher.replica),
        readings.queue_depth(partial(broker.depth, "hints")),
        readings.heard_nodes(heard, partial(_nodes_of, dispatcher.replica), wall_clock),
    )
    on_sigterm(dispatcher.stop)
    dispatcher.run()


def run_worker(settings: Settings, controllers: Sequence[Controller[Any]] = CONTROLLERS) -> None:
    """Run a worker, one dramatiq worker with one thread, until SIGTERM. Raises LostHistory where it finds that."""
    stopping = threading.Event()
    on_sigterm(stopping.set)
    log = open_log(settings, "worker")
    replica = Replica(log, log.snapshot(), every=LEISURE)
    replica.load()
    replica.start()
    client, keys = connect(settings.queue_url, "worker"), Keys(settings.cluster)
    hints = Hints(client, keys)
    heard = Heartbeats(connect(settings.queue_url, "worker"), keys, settings.node_grace)
    ours = fitted(controllers, finished(settings.finished_pods), heartbeats(partial(listen, heard)))
    reconciler = Reconciler(log, replica, hints, ours, edges_of(settings), stopping.set)
    readings.show(_lag(settings, replica))
    broker = StreamsBroker(client, keys, middleware=[], limits=Limits(together=TOGETHER))
    worker = dramatiq_worker(broker, reconciler.look)
    worker.start()
    try:
        while not stopping.wait(FAILURE_CHECK) and replica.failure is None:
            pass
    finally:
        worker.stop()
        hints.close()
        replica.stop()
        _log.info("worker ended", looks=reconciler.looks, conflicts=reconciler.conflicts, wakes=replica.wakes)
    if failure := reconciler.failure or replica.failure:
        raise failure


def run_projector(settings: Settings) -> None:
    """Keep the projections up with the log until SIGTERM."""
    stopping = threading.Event()
    on_sigterm(stopping.set)
    client = connect(settings.views_url, "projector")
    generations = Generations(client, settings.cluster)
    readings.show(
        readings.projector_lag(
            partial(_projected, generations), partial(open_log, settings, "metrics", METRICS_PATIENCE)
        )
    )
    projector.run(open_log(settings, "projector"), client, stopping)


def run_historian(settings: Settings) -> None:
    """Seal the log's older part until SIGTERM."""
    stopping = threading.Event()
    on_sigterm(stopping.set)
    stream, queue = open_stream(settings, "historian"), connect(settings.queue_url, "historian")
    holder = f"{socket.gethostname()}:{os.getpid()}"
    lease = Lease(queue, Keys(settings.cluster).lease("historian"), holder, LEASE_TTL_MS)
    store, limits, index = store_of(settings), limits_of(settings), index_of(settings)
    past = history_of(archived(stream, settings), settings)
    policy = partial(retention_of, past)
    Historian(lambda: Sealer(stream, store, limits, index), lease, wall_clock, stopping, policy).run()


def run_api(settings: Settings) -> None:
    """Answer the HTTP API until SIGTERM, and write the kubeconfig by which kubectl finds it."""
    from services.api.identity.policies import policy_over
    from services.api.keepers import Keeper
    from services.api.measured import measured
    from services.api.node_streams import NodeAccess
    from services.api.program import Parts, Server, listen, serve

    data_dir = settings.data_dir.absolute()
    folder, kubeconfig = data_dir / API_FOLDER, data_dir / KUBECONFIG
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = folder / "port"
    before = int(known.read_text()) if known.exists() else 0
    listening = listen(settings.api_port, before, settings.api_address)
    port = listening.getsockname()[1]
    write_private(known, str(port).encode())
    edges, unseal = edges_of(settings), Keyring(settings.keys_dir).unseal
    own_log = partial(open_log, settings, "api", API_PATIENCE)
    keeper = Keeper(folder, settings.cluster, listening.getsockname()[:2], edges, settings.api_names)
    server = Server(
        Parts(
            open_log=own_log,
            edges=edges,
            unseal=unseal,
            policy=partial(policy_over, unseal=unseal, clock=edges.clock),
            heartbeats=heartbeats_of(settings, "api"),
            authority=keeper.authority,
            history=partial(history_of, settings=settings),
            certify=keeper.certify,
            nodes=NodeAccess(settings.socket_dir, keeper.tls_to_nodes),
            of_values=Keyring(settings.keys_dir).digest,
            revisions=partial(Views, connect(settings.views_url, "api"), settings.cluster),
            at_once=open_pipe(settings, "api"),
            answering=partial(answering, folder, Place(keeper.url, log_of(settings))),
        )
    )
    server.application = measured(server.application)
    readings.show(_lag(settings, server.replica), readings.watch_count(server.hub.count))
    keeper.write_kubeconfig(kubeconfig)
    identities = keeper.identities(data_dir / "nodes", partial(wanted_nodes, settings))
    identities.look()
    looking = Repeater("identities", IDENTITIES_MS, identities.look)
    looking.start()
    with keeper.keeping(kubeconfig, own_log, server.replica, unseal):
        serve(server, listening, keeper.tls)


def api_answers(settings: Settings, moment: Milliseconds) -> bool:
    """Say whether the API that was started at that time answers."""
    return answers_since(settings.data_dir.absolute() / API_FOLDER, moment)


def heartbeats_of(settings: Settings, name: str) -> Heartbeats:
    """Return where the heartbeats of nodes are."""
    queue = connect(settings.queue_url, name, retries=0)
    return Heartbeats(queue, Keys(settings.cluster), settings.node_grace)


def run_agents(settings: Settings) -> None:
    """Run the agents of this machine's nodes until SIGTERM. They are not told where the log and the queue are."""
    run_machine_nodes(replace(settings, log_url="", queue_url="", views_url=""))


def run_metrics(settings: Settings) -> None:
    """Serve the metrics of all programs of this machine on one port until SIGTERM."""
    stopping = threading.Event()
    on_sigterm(stopping.set)
    serve_on_port(settings.metrics_address, settings.metrics_port, registry_of(settings.socket_dir))
    stopping.wait()


def _lag(settings: Settings, replica: Replica) -> readings.Reading:
    return readings.lag_of(replica, partial(open_log, settings, "metrics", METRICS_PATIENCE))


def _nodes_of(replica: Replica) -> list[str]:
    return [name_of(node) for node in replica.list(NODE.resource)]


def _projected(generations: Generations) -> Position | None:
    found = generations.current()
    return found.position if found else None


def fitted(controllers: Sequence[Controller[Any]], *own: Controller[Any]) -> tuple[Controller[Any], ...]:
    """Return the controllers, with a program's own in the place of those of their names."""
    by_name = {each.name: each for each in own}
    return tuple(by_name.get(each.name, each) for each in controllers)


def dramatiq_worker(broker: StreamsBroker, look: Callable[..., None]) -> dramatiq.Worker:
    """Return a dramatiq worker of one thread that gives every hint to `look`: controller and key, or more of these."""
    dramatiq.actor(actor_name="reconcile", queue_name="hints", broker=broker)(look)
    return dramatiq.Worker(broker, queues={"hints"}, worker_threads=1, worker_timeout=2_000)


def on_sigterm(stop: Callable[[], object]) -> None:
    """Call `stop` on SIGTERM, in the main thread."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, handle)


PROGRAMS: tuple[Program, ...] = (
    Program("projector", run_projector, nice=STEP_BACK),
    Program("dispatcher", run_dispatcher, nice=STEP_BACK),
    Program("worker", run_worker, count=WORKERS, nice=STEP_BACK),
    Program("api", run_api, is_ready=api_answers),
    Program("historian", run_historian, nice=STEP_BACK),
    Program("agents", run_agents, grace=PODS_GRACE + 15),
)
"""What `up` runs, in the order of their start: six processes that follow the log, and the historian, which only looks
at it now and then."""
METRICS = Program("metrics", run_metrics)
"""What `up` runs besides where it is asked for metrics."""
