"""`chronoset get --watch`: what is there, and then a row for every change, as kubectl shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from events.replica import Applied
from schemas.columns import spoken_name
from schemas.errors import BadRequest
from schemas.kinds import WORKLOADS, Kind
from schemas.objects import (
    Key,
    Object,
    key_of_object,
    labels_of,
    name_of,
    namespace_of,
    split_key,
    with_metadata,
)
from schemas.selectors import Selector
from services.cli.columns import Layout, Setting, headers_of, in_order, rows_of
from services.cli.following import Following
from services.cli.options import ReadOutput
from services.cli.printing import position_line, yaml_text
from services.cli.references import Reference
from services.cli.session import PATIENCE, Session, now_ms
from services.cli.streams import aside, show_json
from services.cli.tables import Growing
from services.commands.sources import existing

_BLOCK_SECONDS = 1.0
"""How long what a set waits for, which is not in the log, may go unnoticed."""


class Change(StrEnum):
    """What became of an object among those selected, in the words of Kubernetes' watch."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Step(NamedTuple):
    """A change and the object after it; of a deleted one, as it was last."""

    change: Change
    obj: Object


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of one kind are watched. Raises BadRequest where there are several kinds."""

    references: Sequence[Reference]
    namespace: str
    labels: Selector

    def __post_init__(self) -> None:
        if len({reference.kind for reference in self.references}) > 1:
            raise BadRequest(
                "--watch: follows one kind at a time; name one, or see them all with chronoset watch"
            )

    @property
    def kind(self) -> Kind:
        return self.references[0].kind

    @property
    def names(self) -> frozenset[str]:
        """Empty for all."""
        return frozenset(reference.name for reference in self.references if reference.name)

    def holds(self, obj: Object) -> bool:
        """Say whether an object of the kind is selected."""
        return (
            (not self.kind.namespaced or self.namespace in ("", namespace_of(obj)))
            and (not self.names or name_of(obj) in self.names)
            and self.labels.matches(labels_of(obj))
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """How objects are printed; `events` adds what each change is."""

    output: ReadOutput
    layout: Layout
    events: bool = False

    @property
    def is_table(self) -> bool:
        return self.output in (ReadOutput.TABLE, ReadOutput.WIDE)


def step_of(applied: Applied, selection: Selection) -> Step | None:
    """Return what an event means to those who watch a selection, if anything.

    An object that begins to be selected is added, one that ceases to be is deleted (apiserver watch cache).
    """
    if split_key(applied.event.key)[0] != selection.kind.resource:
        return None
    before = applied.old is not None and selection.holds(applied.old)
    after = applied.new is not None and selection.holds(applied.new)
    match before, after:
        case _, True:
            assert applied.new is not None
            return Step(Change.MODIFIED if before else Change.ADDED, applied.new)
        case True, False:
            assert applied.old is not None
            version = str(applied.event.resource_version)
            return Step(Change.DELETED, with_metadata(applied.old, resourceVersion=version))
    return None


def watch_objects(session: Session, selection: Selection, shape: Shape) -> None:
    """Print the objects selected, then every change of them, until it is interrupted."""
    for reference in selection.references:
        if reference.name:
            existing(session.sources, reference.key(selection.namespace))
    following = Following(session.log, session.views, [selection.kind.resource])
    aside(position_line(following.state.position))
    printer = Printer(session, selection.kind, shape)
    present = [obj for obj in following.state.list(selection.kind.resource) if selection.holds(obj)]
    printer.show([Step(Change.ADDED, obj) for obj in in_order(present)])
    while True:
        applied = following.next(_BLOCK_SECONDS, PATIENCE)
        steps = [step for each in applied if (step := step_of(each, selection))]
        printer.show([*steps, *printer.waiting_otherwise(following.state.objects, steps)])


@dataclass(slots=True)
class Printer:
    """Prints steps as they come, and remembers how wide the columns are and what each workload waited for."""

    session: Session
    kind: Kind
    shape: Shape
    _table: Growing | None = None
    _waiting: Mapping[Key, str] = field(default_factory=dict)
    _shown: dict[Key, str] = field(default_factory=dict)

    def waiting_otherwise(self, objects: Mapping[Key, Object], steps: Sequence[Step]) -> Iterator[Step]:
        """Ask what the workloads wait for; yield those that were shown with another sentence and are in no step."""
        if self.kind not in WORKLOADS or not self.shape.is_table:
            return
        self._waiting = self.session.waiting()
        stepped = {key_of_object(step.obj) for step in steps}
        for key, text in self._shown.items():
            if key in objects and key not in stepped and self._waiting.get(key, "") != text:
                yield Step(Change.MODIFIED, objects[key])

    def show(self, steps: Sequence[Step]) -> None:
        """Print steps in the shape that was asked for."""
        match self.shape.output:
            case ReadOutput.TABLE | ReadOutput.WIDE:
                self._show_rows(steps)
            case ReadOutput.NAME:
                for step in steps:
                    print(spoken_name(self.kind, name_of(step.obj)), flush=True)
            case ReadOutput.JSON:
                for step in steps:
                    show_json(self._document(step))
            case ReadOutput.YAML:
                for step in steps:
                    print(f"---\n{yaml_text(self._document(step))}", flush=True)

    def _show_rows(self, steps: Sequence[Step]) -> None:
        if not steps:
            return
        leading = ["EVENT"] if self.shape.events else []
        self._table = self._table or Growing([*leading, *headers_of(self.kind, self.shape.layout), ""])
        if not self._waiting and self.kind in WORKLOADS:
            self._waiting = self.session.waiting()
        print(self._table.lines([self._row(step) for step in steps]), flush=True)

    def _row(self, step: Step) -> list[str]:
        key = key_of_object(step.obj)
        if step.change is Change.DELETED:
            self._shown.pop(key, None)
        else:
            self._shown[key] = self._waiting.get(key, "")
        setting = Setting(now_ms(), self._waiting)
        cells = rows_of(self.kind, [step.obj], setting, self.shape.layout)[0]
        leading = [step.change.value] if self.shape.events else []
        ending = "<deleted>" if step.change is Change.DELETED and not self.shape.events else ""
        return [*leading, *cells, ending]

    def _document(self, step: Step) -> Object:
        obj = self.session.sources.unseal(step.obj)
        return {"type": step.change.value, "object": obj} if self.shape.events else obj
