"""What keeps a namespace that is being deleted, said as conditions of its status, since people ask by `describe`.

(pkg/controller/namespace/deletion/status_condition_utils.go)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from schemas.objects import Object, kind_of
from schemas.times import Milliseconds, parse_rfc3339, rfc3339

SETTLING = 5_000
"""Milliseconds that a namespace is given to become empty before it says what is still in it."""
PAUSE = 10_000
"""Milliseconds between two changes of what it says: each is an event, and the numbers fall with every object."""
CONTENT, FINALIZERS = "NamespaceContentRemaining", "NamespaceFinalizersRemaining"
_WELL: Mapping[str, tuple[str, str]] = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    FINALIZERS: ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}


def said_of(namespace: Object, contents: Sequence[Object], now: Milliseconds) -> list[Object] | None:
    """Return the conditions of a namespace that waits for contents; None where it says so already, or not yet."""
    if now < next_look(namespace):
        return None
    resources = Counter(_dotted(obj) for obj in contents)
    finalizers = Counter(name for obj in contents for name in obj["metadata"].get("finalizers") or ())
    told = {name: ("False", *words) for name, words in _WELL.items()}
    told[CONTENT] = (
        "True",
        "SomeResourcesRemain",
        f"Some resources are remaining: {_counted(resources, '{} has {} resource instances')}",
    )
    if finalizers:
        told[FINALIZERS] = (
            "True",
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: "
            + _counted(finalizers, "{} in {} resource instances"),
        )
    before = _conditions(namespace)
    if {each["type"]: (each["status"], each.get("reason"), each.get("message")) for each in before} == told:
        return None
    return [_condition(type_, *words, before, now) for type_, words in told.items()]


def next_look(namespace: Object) -> Milliseconds:
    """Return from when on a namespace may say something new."""
    times = [parse_rfc3339(each["lastTransitionTime"]) for each in _conditions(namespace)]
    began = parse_rfc3339(namespace["metadata"]["deletionTimestamp"])
    return max(times) + PAUSE if times else began + SETTLING


def _condition(
    type_: str, status: str, reason: str, message: str, before: Iterable[Object], now: Milliseconds
) -> Object:
    words = {"type": type_, "status": status, "reason": reason, "message": message}
    for each in before:
        if words.items() <= each.items():
            return each
    return {**words, "lastTransitionTime": rfc3339(now)}


def _conditions(namespace: Object) -> list[Object]:
    return list((namespace.get("status") or {}).get("conditions") or ())


def _counted(counts: Counter[str], sentence: str) -> str:
    return ", ".join(sentence.format(name, count) for name, count in sorted(counts.items()))


def _dotted(obj: Object) -> str:
    """Return `pods.`, `statefulsets.apps`: as the namespace controller writes a resource."""
    kind = kind_of(obj)
    return f"{kind.plural}.{kind.group}"
