"""Which node a pod goes to: where fewest pods of its controller run, then where least is taken, then by name.

A wish that the user wrote down (preferred affinity, PreferNoSchedule) comes before all three. The order is total, so
a decision is deterministic. Nodes wait in heaps, one for each kind of node that is asked for (`Requirements.place`):
within a decision a node only fills up, so a key in a heap is never too high, and the top, once true, is the best.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush, heapreplace
from operator import attrgetter

from services.scheduler.census import ClusterView, NodeView
from services.scheduler.filters import (
    Rank,
    Room,
    has_room,
    is_undemanding,
    lasting_refusal,
    passing_refusals,
    rank_of,
    sentence_of,
)
from services.scheduler.requirements import Requirements

Spread = dict[str, int]
"""How many pods of one controller a node has, by the node's name."""
Entry = tuple[Rank, float, str, Room]
"""A node in a heap, by rank, load and name."""
_ANY: Rank = (0, 0)
"""The rank of every open node for a pod that asks nothing of it."""
_name = attrgetter("name")


class Rooms(Mapping[str, Room]):
    """The nodes by name, each made a room of when it is first asked for: most decisions touch few of them."""

    def __init__(self, view: ClusterView) -> None:
        self._nodes = view.nodes
        self._rooms: dict[str, Room] = {}
        self.by_load = view.by_load
        self.closed = view.closed

    def __getitem__(self, name: str) -> Room:
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Room(self._view(name))
        return room

    def __iter__(self) -> Iterator[str]:
        return (view.name for view in self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def _view(self, name: str) -> NodeView:
        place = bisect_left(self._nodes, name, key=_name)
        if place == len(self._nodes) or self._nodes[place].name != name:
            raise KeyError(name)
        return self._nodes[place]


class Pool:
    """The nodes of the kind that some pods ask for, least loaded first, and why the others are not of that kind.

    Pods that ask nothing of a node may go to all open ones. These come in the order of their loads, and enter the heap
    when their turn comes: a node's load there is never too high, since it only fills up.
    """

    def __init__(self, wanted: Requirements, rooms: Rooms) -> None:
        self._refused: Counter[str] = Counter()
        self._kept: list[Room] = []
        self._heap: list[Entry] = []
        self._rooms = rooms
        takes_any = is_undemanding(wanted)
        self._open = rooms.by_load if takes_any else ()
        self._turn = 0
        for room in map(rooms.__getitem__, rooms.closed if takes_any else rooms):
            if refusal := lasting_refusal(wanted, room.view):
                self._refused[refusal] += 1
            else:
                self._kept.append(room)
                self._heap.append((rank_of(wanted, room.view), room.load, room.name, room))
        heapify(self._heap)
        self.full_for: set[str] = set()

    def first(self) -> Entry | None:
        """Return the best node; None when all have been popped."""
        heap = self._heap
        while True:
            if self._turn < len(self._open):
                load, name = self._open[self._turn]
                if not heap or (_ANY, load, name) < heap[0][:3]:
                    heappush(heap, (_ANY, load, name, self._rooms[name]))
                    self._turn += 1
            if not heap:
                return None
            rank, load, name, room = heap[0]
            if room.load == load:
                return heap[0]
            heapreplace(heap, (rank, room.load, name, room))

    def pop(self) -> None:
        heappop(self._heap)

    def push(self, entry: Entry) -> None:
        heappush(self._heap, entry)

    def refusals(self, wanted: Requirements) -> Counter[str]:
        """Return how many nodes refuse such a pod now, by reason."""
        refused = Counter(self._refused)
        for room in (*self._kept, *(self._rooms[name] for _, name in self._open)):
            refused.update(passing_refusals(wanted, room))
        return refused


class Run:
    """Consecutive pods that ask the same and have one controller.

    Nodes that have pods of the controller, or no room, leave the pool until the run is over.
    """

    def __init__(self, pool: Pool, wanted: Requirements, spread: Spread) -> None:
        self._pool = pool
        self._wanted = wanted
        self._spread = spread
        self._again: list[tuple[Rank, int, float, str, Room]] = []
        self._full: list[Entry] = []

    def place(self) -> Room | None:
        """Count the next pod in on the best node and return it; None if it fits nowhere."""
        fresh = self._fresh()
        again = self._again
        while again and not has_room(self._wanted, again[0][-1]):
            rank, _, load, name, room = heappop(again)
            self._full.append((rank, load, name, room))
        if fresh is not None and (not again or (fresh[0], 0) < again[0][:2]):
            self._pool.pop()
            rank, _, name, room = fresh
        elif again:
            rank, _, _, name, room = heappop(again)
        else:
            self._pool.full_for.add(self._wanted.room)
            return None
        room.take(self._wanted)
        count = self._spread[name] = self._spread.get(name, 0) + 1
        heappush(again, (rank, count, room.load, name, room))
        return room

    def close(self) -> None:
        """Give the nodes back to the pool."""
        for entry in self._full:
            self._pool.push(entry)
        for rank, _, load, name, room in self._again:
            self._pool.push((rank, load, name, room))

    def _fresh(self) -> Entry | None:
        """Return the best node that has room and no pod of the controller."""
        while (entry := self._pool.first()) is not None:
            rank, load, name, room = entry
            if not has_room(self._wanted, room):
                self._full.append(entry)
            elif count := self._spread.get(name):
                heappush(self._again, (rank, count, load, name, room))
            else:
                return entry
            self._pool.pop()
        return None


class Placement:
    """The nodes while one decision places pods on them."""

    def __init__(self, view: ClusterView) -> None:
        self.rooms = Rooms(view)
        self._pools: dict[str, Pool] = {}
        self._run: tuple[tuple[str, str, int], Run] | None = None

    def place(self, wanted: Requirements, spread: Spread) -> Room | None:
        """Count a pod in on the best of all nodes; None if it fits nowhere. `spread` is counted on."""
        pool = self._pool(wanted)
        if wanted.room in pool.full_for:
            return None
        of = (wanted.place, wanted.room, id(spread))
        if self._run is None or self._run[0] != of:
            self._end_run()
            self._run = (of, Run(pool, wanted, spread))
        return self._run[1].place()

    def place_among(self, wanted: Requirements, spread: Spread, rooms: Iterable[Room]) -> Room | None:
        """Count a pod in on the best of a few nodes; None if it fits on none of them."""
        self._end_run()
        best = min(
            (
                (rank_of(wanted, room.view), spread.get(room.name, 0), room.load, room.name)
                for room in rooms
                if not lasting_refusal(wanted, room.view) and has_room(wanted, room)
            ),
            default=None,
        )
        if best is None:
            return None
        room = self.rooms[best[-1]]
        room.take(wanted)
        spread[room.name] = spread.get(room.name, 0) + 1
        return room

    def why_not(self, wanted: Requirements) -> str:
        """Return the sentence that says why such a pod fits nowhere."""
        return sentence_of(self._pool(wanted).refusals(wanted), len(self.rooms))

    def why_not_among(
        self,
        wanted: Requirements,
        rooms: Iterable[Room],
        refused: Counter[str],
        last: Callable[[Room], str] = lambda _: "",
    ) -> str:
        """Return that sentence where only `rooms` come into question, the others being `refused`.

        `last` says what speaks against a node that would do otherwise.
        """
        refused = Counter(refused)
        for room in rooms:
            lasting = lasting_refusal(wanted, room.view)
            refused.update([lasting] if lasting else passing_refusals(wanted, room) or [last(room)])
        refused.pop("", None)
        return sentence_of(refused, len(self.rooms))

    def _pool(self, wanted: Requirements) -> Pool:
        pool = self._pools.get(wanted.place)
        if pool is None:
            pool = self._pools[wanted.place] = Pool(wanted, self.rooms)
        return pool

    def _end_run(self) -> None:
        if self._run is not None:
            self._run[1].close()
            self._run = None
