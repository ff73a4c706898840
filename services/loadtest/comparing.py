"""Plays the scenarios of the comparison on a cluster of its own, and tells what each cost which process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from services.connections import connect
from services.loadtest.api_hands import ApiHand
from services.loadtest.checks import differences, wait_until_calm
from services.loadtest.clusters import Running, Shape, running_cluster
from services.loadtest.comparisons import MEMORY, NODES, ROWS, Hand, Row, scenarios
from services.loadtest.hands import LogHand
from services.loadtest.runs import usages
from services.loadtest.usage import Usage, load_average, used_between
from services.loadtest.watching import Watch
from services.projections.reader import Views
from services.settings import KUBECONFIG, Durability
from services.wiring import edges_of, open_log

ROUNDS = 3
"""How often all scenarios are played: the first of them finds programs that have not done anything yet."""
PATIENCE = 120.0
"""Seconds for each step of a scenario."""
REST = 1.0
"""Seconds after which what the nodes have caused is over."""
GLANCE = 0.01
"""Seconds between two looks at whether a scenario is over; whoever measured Kubernetes polled it, too."""
OUTSIDE = ("nodes",)
"""What is no part of the control plane."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How to compare. `over_api`: nodes and driver are clients of the HTTP API, as they were for Kubernetes."""

    workers: int
    over_api: bool
    durability: Durability
    place: Path


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of it, and what was wrong.

    found    each row's value in each round
    costs    CPU microseconds a pod or set by process, for each row in each round
    memory   MB by process, after the last scenario of the last round
    """

    plan: Comparison
    found: dict[Row, list[float]] = field(default_factory=dict)
    costs: dict[Row, list[dict[str, float]]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    load: float = 0.0

    @property
    def values(self) -> dict[Row, float]:
        """The median of each row."""
        return {row: median(found) for row, found in self.found.items()}

    @property
    def cpu(self) -> dict[Row, dict[str, float]]:
        """The median of each row's CPU, by process."""
        return {
            row: {name: median(cost[name] for cost in costs) for name in costs[0]}
            for row, costs in self.costs.items()
        }


def compare(plan: Comparison, progress: Callable[[str], None]) -> Compared:
    """Play all scenarios, three times. Raises Unavailable where one does not end in time, or no cluster starts."""
    result = Compared(plan, load=load_average())
    shape = Shape(plan.workers, NODES, plan.durability, is_traced=False, over_api=plan.over_api)
    with running_cluster(shape, plan.place) as cluster:
        with _hand(cluster, plan.over_api) as hand:
            for number in range(1, ROUNDS + 1):
                used = _play(cluster, hand, result, partial(_in_round, number, progress))
            own = {name: usage.pss / 1e6 for name, usage in used.items() if name not in OUTSIDE}
        result.memory.update(own)
        result.found[next(row for row in ROWS if row.name == MEMORY)] = [sum(own.values())]
        result.problems.extend(_differences(cluster))
        cluster.end()
    return result


def _in_round(number: int, progress: Callable[[str], None], said: str) -> None:
    progress(f"{number} of {ROUNDS}: {said}")


def _play(
    cluster: Running, hand: Hand, result: Compared, progress: Callable[[str], None]
) -> dict[str, Usage]:
    """Play all scenarios once; return what the processes had used when the last of them was over."""
    before = usages(cluster)
    for measured in scenarios(hand):
        after = usages(cluster)
        used = used_between(before, after)
        before = after
        result.found.setdefault(measured.row, []).append(measured.value)
        cost = {name: 1e6 * usage.cpu / measured.count for name, usage in used.items()}
        result.costs.setdefault(measured.row, []).append(cost)
        progress(f"{measured.row.name}: {measured.value:.2f} {measured.row.unit}")
    return before


@contextmanager
def _hand(cluster: Running, over_api: bool) -> Iterator[Hand]:
    """Yield what changes the sets. Over the API nothing of the measuring process follows the log meanwhile.

    The 500 nodes that it has loaded are out of its collector's sight: a look at them would be measured, too.
    """
    log = open_log(cluster.settings, "loadtest")
    watch = Watch(log, GLANCE)
    try:
        watch.wait_for_nodes(NODES)
        gc.freeze()
        time.sleep(REST)
        if over_api:
            watch.stop()
            with closing(ApiHand(cluster.settings.data_dir / KUBECONFIG, PATIENCE)) as hand:
                yield hand
        else:
            yield LogHand(log, watch, edges_of(cluster.settings), PATIENCE)
    finally:
        watch.stop()
        log.close()


def _differences(cluster: Running) -> list[str]:
    """Return how replay, projections, replica and heads differ once all is at rest."""
    settings = cluster.settings
    log, queue, server = (
        open_log(settings, "loadtest"),
        connect(settings.queue_url, "loadtest"),
        connect(settings.log_url, "loadtest"),
    )
    watch = Watch(log)
    try:
        if not wait_until_calm(log, lambda: True, 10.0):
            return ["the log does not come to rest within 10 s"]
        return differences(log, server, Views(queue, settings.cluster), watch)
    finally:
        watch.stop()
        for each in (log, queue, server):
            each.close()
