"""`chronoset replay play`: a stretch of the log as pictures of the nodes and their pods, coloured by revision."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from events.fold import apply
from events.state import State
from schemas.envelopes import Event
from schemas.event_types import condition_of
from schemas.kinds import CONTROLLER_REVISION, NODE, POD
from schemas.objects import Object, controller_of, labels_of, name_of, namespace_of
from schemas.positions import Position, time_of
from schemas.revisions import HASH_LABEL, REVISION_LABEL, template_of
from services.cli.columns import in_order
from services.cli.live_models import Health, health_of
from services.cli.shown_events import clock_time
from services.cli.streams import can_be_drawn_on
from services.cli.tables import printable
from services.cli.telling import name_of_key, who

LONGEST_PAUSE = 2.0
"""Seconds after which it goes on, however long nothing happened."""
SHORTEST_PAUSE = 0.04
EVENTS_SHOWN = 8
_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_red", "bright_cyan", "bright_yellow")
_NOWHERE = "(no node)"
_SIGNS_MEANT = "● ready  ◐ starting  ○ pending  ◌ leaving  ✗ failing  ■ done"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod in a picture. `revision` is the number in which its revision was met, from 0; -1 where it has none."""

    name: str
    health: Health
    revision: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What is seen at a position: nodes (name, is ready, pods), the revisions by their numbers, the last events."""

    position: Position
    nodes: tuple[tuple[str, bool, tuple[Pod, ...]], ...]
    revisions: tuple[str, ...]
    happenings: tuple[str, ...]


class Painter:
    """Makes pictures of a state. A revision keeps its number, and so its colour, through all of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._told: dict[str, str] = {}
        self._happenings: deque[str] = deque(maxlen=EVENTS_SHOWN)

    def tell(self, event: Event) -> None:
        """Remember an event for the line below the picture."""
        at = clock_time(time_of(event.position))[11:23]
        self._happenings.append(
            printable(f"{at}  {event.type:<28} {name_of_key(event.key)}  by {who(event)}")
        )

    def picture(self, state: State) -> Picture:
        """Return the picture of a state."""
        by_node = {name_of(node): (condition_of(node, "Ready") == "True", state.pods_on(name_of(node)))
                   for node in in_order(state.list(NODE.resource))}  # fmt: skip
        known = set(by_node)
        lost = [pod for pod in state.list(POD.resource) if pod["spec"].get("nodeName", "") not in known]
        rows = [(name, ready, self._pods(state, pods)) for name, (ready, pods) in by_node.items()]
        if lost:
            rows.append((_NOWHERE, False, self._pods(state, lost)))
        revisions = tuple(self._told.get(label, label) for label in self._numbers)
        return Picture(state.position, tuple(rows), revisions, tuple(self._happenings))

    def _pods(self, state: State, pods: Iterable[Object]) -> tuple[Pod, ...]:
        return tuple(
            Pod(printable(name_of(pod)), health_of(pod), self._revision(state, pod)) for pod in in_order(pods)
        )

    def _revision(self, state: State, pod: Object) -> int:
        label = labels_of(pod).get(REVISION_LABEL, "")
        owner = controller_of(pod)
        if not label or owner is None:
            return -1
        number = self._numbers.setdefault(f"{owner['uid']}/{label}", len(self._numbers))
        if f"{owner['uid']}/{label}" not in self._told:
            for each in state.owned_by(owner["uid"]):
                if each["kind"] == CONTROLLER_REVISION.kind and label in (name_of(each), _hash_of(each)):
                    images = ",".join(one.get("image", "") for one in template_of(each)["spec"]["containers"])
                    place = "" if namespace_of(pod) == "default" else f"{namespace_of(pod)}/"
                    told = f"{place}{owner['name']} {each['revision']} ({images})"
                    self._told[f"{owner['uid']}/{label}"] = printable(told)
        return number


def pictures(state: State, events: Iterable[Event]) -> Iterator[Picture]:
    """Yield the picture of a state, then one after each batch that changed what is seen. `state` is moved forward."""
    painter = Painter()
    last = painter.picture(state)
    yield last
    for event in events:
        apply(state, event)
        painter.tell(event)
        if event.offset == event.size - 1:
            now = painter.picture(state)
            if (now.nodes, now.revisions) != (last.nodes, last.revisions):
                yield now
                last = now


def play_out(state: State, events: Iterable[Event], speed: int) -> None:
    """Show pictures: on a terminal one after the other in time, else all at once."""
    if not can_be_drawn_on(sys.stdout):
        for picture in pictures(state, events):
            print(picture_text(picture), end="\n\n", flush=True)
        return
    console = Console(highlight=False)
    begun = before = 0
    last: Picture | None = None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for picture in pictures(state, events):
            now = time_of(picture.position)
            begun = begun or now
            pause = (now - before) / 1000 / speed if before else 0.0
            time.sleep(min(max(pause, SHORTEST_PAUSE), LONGEST_PAUSE))
            before = now
            live.update(_rendered(picture, speed, (now - begun) // 1000), refresh=True)
            last = picture
        time.sleep(LONGEST_PAUSE)
    if last is not None:
        print(picture_text(last))


def picture_text(picture: Picture) -> str:
    """Return a picture as plain text: pods with their sign, and the number of their revision."""
    lines = [clock_time(time_of(picture.position))]
    width = max((len(name) for name, _, _ in picture.nodes), default=0)
    for name, ready, pods in picture.nodes:
        state = "" if ready or name == _NOWHERE else "  NotReady"
        shown = "  ".join(f"{pod.health.value} {pod.name}{_number(pod.revision)}" for pod in pods)
        lines.append(f"  {name.ljust(width)}{state}  {shown}".rstrip())
    lines += [f"  [{number}] {told}" for number, told in enumerate(picture.revisions, 1)]
    lines += [f"  {each}" for each in picture.happenings[-1:]]
    return "\n".join(lines)


def _number(revision: int) -> str:
    return f"[{revision + 1}]" if revision >= 0 else ""


def _rendered(picture: Picture, speed: int, seconds: int) -> Group:
    head = Text.assemble(
        (clock_time(time_of(picture.position)), "bold"),
        f"   {seconds} s after the beginning, {speed} times as fast",
    )
    grid = Table(expand=True, show_edge=False, pad_edge=False)
    grid.add_column("NODE", no_wrap=True, style="bold")
    grid.add_column("PODS", ratio=1)
    for name, ready, pods in picture.nodes:
        cells = Text("  ").join(
            Text(
                f"{pod.health.value} {pod.name}",
                _COLOURS[pod.revision % len(_COLOURS)] if pod.revision >= 0 else "",
            )
            for pod in pods
        )
        grid.add_row(Text(name, "" if ready else "red"), cells)
    legend = Text("   ").join(
        Text(f"■ {told}", _COLOURS[number % len(_COLOURS)]) for number, told in enumerate(picture.revisions)
    )
    happened = Text("\n".join(picture.happenings), "dim", no_wrap=True, overflow="ellipsis")
    return Group(head, Text(), grid, Text(), legend, Text(_SIGNS_MEANT, "dim"), Text(), happened)


def _hash_of(revision: Object) -> str:
    return labels_of(revision).get(REVISION_LABEL, "") or labels_of(revision).get(HASH_LABEL, "")
