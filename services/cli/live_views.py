"""The live view: a model as lines of text that fit a terminal. Pure.

Every workload has a line of its own, then its revisions, its pods and what it waits for: a line a pod where there is
room, else all pods in a row, else nothing more than the first line. The rest of the height is the events'.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import chain

from rich.console import Group
from rich.text import Text

from schemas.counts import counted
from services.cli.live_models import Happening, Health, Model, Pod, Revision, Workload

LEAST_EVENTS = 5
"""Lines kept for events, the heading among them, however many workloads there are."""
_UPDATE, _OLDER = "green", ("yellow", "magenta", "cyan", "blue")
"""Colours of revisions: the one to be rolled out, and the others, the newest first."""
_HEALTH = {
    Health.FAILING: "bold red",
    Health.MISSING: "dim",
    Health.LEAVING: "dim",
    Health.STARTING: "bold",
}
_MARGIN = 1


class Detail(IntEnum):
    """How much of a workload is shown."""

    LINE = 0
    ROW = 1
    FULL = 2


def view(model: Model, width: int, height: int) -> Group:
    """Return the view of a model on `height` lines of `width` columns; never more."""
    head = [_title(model, width), *(Text(f" ! {trouble}", "bold red") for trouble in model.troubles)]
    room = max(height - len(head) - LEAST_EVENTS, 1)
    body = _workloads(model, width, room)
    left = height - len(head) - len(body)
    lines = [*head, *body, *_events(model.happenings, width, left)]
    return Group(*(_cut(line, width) for line in lines[:height]))


def _title(model: Model, width: int) -> Text:
    nodes = f"{model.nodes_ready}/{model.nodes} nodes ready"
    style = "" if model.nodes_ready == model.nodes else "bold red"
    left = Text.assemble(
        (f" {model.title}", "bold"), "   ", (nodes, style), (f"   {model.place}".rstrip(), "dim")
    )
    right = Text(f"{model.hint} ", "dim") if model.hint else Text()
    left.truncate(max(width - right.cell_len - 1, 0), overflow="ellipsis", pad=True)
    return left.append(" ").append_text(right)


def _workloads(model: Model, width: int, room: int) -> list[Text]:
    """Return the lines of all workloads, less of each where they would not fit into `room` lines."""
    if not model.workloads and not model.others:
        return [Text(), Text(" no workloads yet: chronoset apply -f FILE", "dim"), Text()]
    details = [Detail.FULL if len(each.pods) < room else Detail.ROW for each in model.workloads]
    blocks = [_block(each, width, detail) for each, detail in zip(model.workloads, details, strict=True)]
    others = _others(model.others, width)
    while sum(map(len, blocks)) + len(others) > room:
        index = _next_to_shrink(model.workloads, blocks, details)
        if index is None:
            break
        details[index] = Detail(details[index] - 1)
        blocks[index] = _block(model.workloads[index], width, details[index])
    lines = [*chain.from_iterable(blocks), *others]
    if len(lines) <= room:
        return lines
    hidden = len(lines) - room + 1
    return [*lines[: room - 1], Text(f" ... and {counted(hidden, 'line')} more: chronoset get all -A", "dim")]


def _next_to_shrink(
    workloads: Sequence[Workload], blocks: Sequence[Sequence[Text]], details: Sequence[Detail]
) -> int | None:
    """Return the workload to show less of: one that is well before one that is not, then the one that takes most."""
    shown = [index for index, detail in enumerate(details) if detail > Detail.LINE]
    return max(shown, key=lambda index: (workloads[index].is_well, len(blocks[index])), default=None)


def _block(workload: Workload, width: int, detail: Detail) -> list[Text]:
    colours = _colours(workload.revisions)
    lines = [Text(), _heading(workload)] if detail > Detail.LINE else [_heading(workload)]
    if detail is Detail.LINE:
        return [
            lines[0].append_text(Text(f"   {workload.waiting}", "yellow")) if workload.waiting else lines[0]
        ]
    if detail is Detail.FULL:
        numbers = {revision.name: revision.number for revision in workload.revisions}
        lines += [_revision_line(revision, colours) for revision in workload.revisions]
        lines += _pod_lines(workload.pods, colours, numbers)
    else:
        lines.append(Text("   ").append_text(_legend(workload.revisions, colours)))
        lines += _pod_rows(workload.pods, colours, width)
    if workload.waiting:
        lines.append(Text(f"   waiting for: {workload.waiting}", "yellow"))
    return lines


def _heading(workload: Workload) -> Text:
    name = workload.name if workload.namespace == "default" else f"{workload.namespace}/{workload.name}"
    ready = f"{workload.ready}/{workload.desired} ready"
    line = Text.assemble(
        f" {workload.kind} ",
        (name, "bold"),
        "   ",
        (ready, "green" if workload.ready == workload.desired else "bold yellow"),
    )
    if workload.leaving:
        return line.append(", being deleted", "bold red")
    if workload.updated != workload.desired:
        line.append(f", {workload.updated}/{workload.desired} updated", "bold yellow")
    return line


def _colours(revisions: Sequence[Revision]) -> dict[str, str]:
    older = [revision.name for revision in revisions if not revision.is_update]
    colours = {name: _OLDER[index % len(_OLDER)] for index, name in enumerate(older)}
    return colours | {revision.name: _UPDATE for revision in revisions if revision.is_update}


def _revision_line(revision: Revision, colours: dict[str, str]) -> Text:
    role = "  current" if revision.is_current else "  update" if revision.is_update else ""
    return Text.assemble(
        (f"   #{revision.number:<3} {revision.name}  {revision.images}", colours[revision.name]),
        (role, "dim"),
    )


def _legend(revisions: Sequence[Revision], colours: dict[str, str]) -> Text:
    return Text("   ").join(
        Text(f"#{revision.number} {revision.images}", colours[revision.name]) for revision in revisions
    )


def _pod_lines(pods: Sequence[Pod], colours: dict[str, str], numbers: dict[str, int]) -> list[Text]:
    places = max((len(pod.place) for pod in pods), default=0)
    words = max((len(_word(pod)) for pod in pods), default=0)
    lines = []
    for pod in pods:
        colour = colours.get(pod.revision, "")
        number = numbers.get(pod.revision)
        line = Text.assemble(
            "   ",
            (f"{pod.health.value} {pod.place:>{places}}", _style(pod, colour)),
            (f"  {_word(pod):<{words}}", _HEALTH.get(pod.health, "")),
            (f"  {f'#{number}' if number else '':<4}", colour),
            f"  {pod.node:<6}  {pod.address:<14}",
        )
        if pod.restarts:
            line.append(f"  restarted {pod.restarts}x", "yellow")
        line.rstrip()
        lines.append(line)
    return lines


def _pod_rows(pods: Sequence[Pod], colours: dict[str, str], width: int) -> list[Text]:
    """Return the pods one beside the other, in as many rows as they need."""
    cell = max((len(pod.place) for pod in pods), default=0) + 2
    each_row = max((width - 3 - _MARGIN) // (cell + 1), 1)
    return [
        Text("   ").append_text(
            Text(" ").join(
                Text(
                    f"{pod.health.value} {pod.place}".ljust(cell), _style(pod, colours.get(pod.revision, ""))
                )
                for pod in pods[start : start + each_row]
            )
        )
        for start in range(0, len(pods), each_row)
    ]


def _others(pods: Sequence[Pod], width: int) -> list[Text]:
    if not pods:
        return []
    return [Text(), Text(" pods of no workload"), *_pod_rows(pods, {}, width)]


def _word(pod: Pod) -> str:
    if pod.health is Health.MISSING:
        return "missing"
    return f"{pod.word}, not ready" if pod.health is Health.STARTING and pod.word == "Running" else pod.word


def _style(pod: Pod, colour: str) -> str:
    """Return a pod's style: what is failing is red, all else has its revision's colour."""
    if pod.health is Health.FAILING:
        return _HEALTH[Health.FAILING]
    return " ".join(part for part in (_HEALTH.get(pod.health, ""), colour) if part)


def _events(happenings: Sequence[Happening], width: int, room: int) -> list[Text]:
    """Return the last events on `room` lines with their heading, the newest last; room that is left is blank above."""
    if room < 2:
        return []
    shown = happenings[-(room - 2) :] if room > 2 else ()
    types = max((len(each.type) for each in shown), default=0)
    subjects = min(max((len(each.subject) for each in shown), default=0), max(width // 4, 12))
    actors = max((len(each.who) for each in shown), default=0)
    lines = [Text(), Text(f" {'─ events ':─<{max(width - 2, 0)}}", "dim")]
    for each in shown:
        line = Text.assemble(
            (f" {each.at}", "dim"),
            (f"  {each.type:<{types}}", _event_style(each.type)),
            f"  {_shortened(each.subject, subjects):<{subjects}}",
            (f"  {each.who:<{actors}}", "cyan"),
            (f"  {each.why}" if each.why else "", "dim"),
        )
        lines.append(line)
    return lines[:room]


def _event_style(name: str) -> str:
    if name.endswith(("Failed", "NotReady")):
        return "bold red"
    return (
        "green"
        if name.endswith("Ready")
        else "yellow"
        if name.endswith(("Deleted", "DeletionRequested"))
        else ""
    )


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 3, 0)] + "..."


def _cut(line: Text, width: int) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    line.truncate(width, overflow="ellipsis")
    return line
