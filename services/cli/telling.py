"""Events and changes in the words of people: who did what, from where, and which fields became what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from schemas.envelopes import LOG_KEY, Event
from schemas.kinds import BY_RESOURCE
from schemas.objects import Key, Object, split_key
from schemas.positions import stream_id_of, time_of
from services.cli.records import painted
from services.cli.shown_events import clock_time
from services.cli.tables import printable
from services.history.causes import Chain, Link
from services.history.fields import FieldChange, is_within

APPLIED = "metadata.annotations[kubectl.kubernetes.io/last-applied-configuration]"
"""The whole manifest once more: for programs only."""
_NOISE = (APPLIED, "metadata.generation", "metadata.creationTimestamp", "metadata.uid")
_NOISY_ENDS = (".lastTransitionTime", ".lastHeartbeatTime", ".lastProbeTime")
_LONGEST = 72


def name_of_key(key: Key, namespace: str = "default") -> str:
    """Return `statefulset/web`, or `statefulset/other/web` outside of a namespace."""
    if key == LOG_KEY:
        return "the log"
    resource, place, name = split_key(key)
    kind = BY_RESOURCE.get(resource)
    spoken = kind.singular if kind else resource
    return f"{spoken}/{name}" if place in ("", namespace) else f"{spoken}/{place}/{name}"


def who(event: Event) -> str:
    """Return who wrote an event: `alice (socket:0@vm)`, `the scheduler`, `node n1`."""
    kind, _, name = event.actor.name.partition(":")
    match kind:
        case "controller":
            return "the scheduler" if name == "scheduler" else f"the {name} controller"
        case "node":
            return f"node {name}"
        case "system":
            return f"the cluster's {name}"
    claim = event.actor.claim.removeprefix("user:")
    return printable(f"{claim} ({event.actor.name})" if claim else event.actor.name.removeprefix("user:"))


def whence(event: Event) -> str:
    """Return where a wish came from: `from 192.0.2.5 with kubectl/v1.33.0`; empty where it came over no wire."""
    _, address, agent = event.origin
    parts = (f"from {address}" if address else "", f"with {agent.split(' ')[0]}" if agent else "")
    return printable(" ".join(part for part in parts if part))


def field_lines(fields: Iterable[FieldChange], indent: str, most: int = 0) -> list[str]:
    """Return a line for each field that people want to see, before and after; at most so many (0: all)."""
    shown = [each for each in fields if not is_noise(each)]
    lines = [f"{indent}{field_line(each)}" for each in (shown[:most] if most else shown)]
    if most and len(shown) > most:
        lines.append(painted(f"{indent}and {len(shown) - most} more fields", "dim"))
    return lines


def is_noise(field: FieldChange) -> bool:
    """Say whether a field only says over again what the others do: for programs, not for people."""
    return field.path in _NOISE or field.path.endswith(_NOISY_ENDS)


def field_line(field: FieldChange) -> str:
    """Return `spec.replicas: 3 → 5`; what was not there before, or is no more, is said."""
    before, after = (_short(each) for each in (field.before, field.after))
    if field.before is None:
        return f"{printable(field.path)}: {painted(after, 'green')} {painted('(new)', 'dim')}"
    if field.after is None:
        return f"{printable(field.path)}: {painted(before, 'red')} {painted('(removed)', 'dim')}"
    return f"{printable(field.path)}: {painted(before, 'red')} → {painted(after, 'green')}"


def within(fields: Iterable[FieldChange], field: str) -> list[FieldChange]:
    """Return the fields that are a field that was asked for, or parts of it; all where none was."""
    return [each for each in fields if not field or is_within(each.path, field)]


def event_head(event: Event, subject: Key = "") -> str:
    """Return the line over a change: when, what, of whom where that is not clear, by whom and from where."""
    about = "" if event.key == subject else name_of_key(event.key)
    parts = (
        painted(clock_time(time_of(event.position)), "cyan"),
        painted(f"{event.type:<28}", "bold"),
        printable(about),
        f"by {who(event)}",
        whence(event),
        painted(stream_id_of(event.position), "dim"),
    )
    return "  ".join(part for part in parts if part)


def chain_text(chain: Chain, when: str) -> str:
    """Return a chain of causes as sentences, the newest first."""
    lines = [painted(f"{name_of_key(chain.key)} {_standing(chain.obj)} ({when})", "bold")]
    for link in chain.links:
        position = link.event.position
        at = painted(clock_time(time_of(position)), "cyan")
        turns = f", in its turn, after {link.turns} events of other pods" if link.turns else ""
        told = f"because {sentence(link, chain)}{turns}"
        lines.append(f"  {at}  {told}  {painted(stream_id_of(position), 'dim')}")
    if not chain.whole:
        lines.append(f"  {broken_off(chain)}")
    return "\n".join(lines)


def broken_off(chain: Chain) -> str:
    """Return where a chain ends that does not lead to its beginning, and who has seen to that."""
    what = "and what led to that" if chain.links else "what led to that"
    if chain.dropped is None:
        return f"{what} the log does not say"
    resources, until, policies = chain.dropped
    kinds = " and ".join(sorted(each.partition("/")[2] for each in resources))
    said = " and ".join(map(stream_id_of, policies))
    return (
        f"{what} is dropped: no events of {kinds} are kept up to {clock_time(time_of(until))} "
        f"(retention policy {said}; see chronoset retention show)"
    )


def sentence(link: Link, chain: Chain) -> str:
    """Return one event as the half of a sentence: `the scheduler bound it to n3`."""
    event = link.event
    about = _subject(event, chain)
    kind, origin = event.type, whence(event)
    actor = f"{who(event)}, {origin}," if origin else who(event)
    if kind == "PodBound":
        node = ((event.body or {}).get("spec") or {}).get("nodeName", "")
        return f"{actor} bound {about} to {node}"
    if kind == "PersistentVolumeClaimBound":
        return (
            f"{actor} bound {about} to volume {((event.body or {}).get('spec') or {}).get('volumeName', '')}"
        )
    if kind == "NodeCreated" and event.actor.name.startswith("node:"):
        return f"{actor} joined"
    if event.derivation:
        return f"{about} follows from its template"
    for ending, verb in (
        ("DeletionRequested", "asked {} to end"),
        ("Deleted", "deleted {}"),
        ("Created", "created {}"),
    ):
        if kind.endswith(ending):
            by_node = ending == "Deleted" and event.actor.name.startswith("node:")
            return f"{actor} {(verb if not by_node else 'confirmed the end of {}').format(about)}"
    changed = _changed(link)
    return f"{actor} changed {about}{changed}" if changed else f"{actor} wrote {kind} of {about}"


def chain_record(chain: Chain) -> dict[str, Any]:
    """Return a chain of causes for programs."""
    from services.cli.records import full_record

    return {
        "key": chain.key,
        "exists": chain.obj is not None,
        "complete": chain.whole,
        "dropped": {
            "kinds": list(chain.dropped.resources),
            "until": stream_id_of(chain.dropped.until),
            "policies": [stream_id_of(each) for each in chain.dropped.policies],
        }
        if chain.dropped
        else None,
        "chain": [
            {
                **full_record(link.event),
                "because": sentence(link, chain),
                "turns": link.turns,
                "fields": fields_record(link.change.fields) if link.change else [],
            }
            for link in chain.links
        ],
    }


def fields_record(fields: Sequence[FieldChange]) -> list[dict[str, Any]]:
    """Return fields for programs."""
    return [{"field": each.path, "before": each.before, "after": each.after} for each in fields]


def _changed(link: Link) -> str:
    """Return `: spec.replicas: 3 → 5, ...`, the few that say most: what was wished for before what was found."""
    if link.change is None:
        return ""
    fields = [each for each in link.change.fields if not is_noise(each)]
    wished = [each for each in fields if not each.path.startswith("status")] or fields
    told = ", ".join(field_line(each) for each in wished[:3])
    more = f" and {len(wished) - 3} more fields" if len(wished) > 3 else ""
    return f": {told}{more}" if told else ""


def _subject(event: Event, chain: Chain) -> str:
    """Return `it`, what had its name before it, or another object by its name."""
    if event.key != chain.key:
        return name_of_key(event.key)
    return "it" if chain.obj is None or event.uid == chain.obj["metadata"]["uid"] else "the one before it"


def _standing(obj: Object | None) -> str:
    """Return what there is to explain of an object."""
    if obj is None:
        return "is gone"
    if obj["metadata"].get("deletionTimestamp"):
        return "is to end"
    if obj["kind"] == "Pod":
        node = obj["spec"].get("nodeName", "")
        return f"runs on {node}" if node else "waits for a node"
    return "is as it is"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value else orjson.dumps(value).decode()
    return printable(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")
