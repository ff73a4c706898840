"""Which of a node's pods a drain takes, which it leaves, and which it may not touch (kubectl pkg/drain/filters.go)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from events.commit import Reader
from schemas.kinds import DAEMON_SET
from schemas.objects import Object, controller_of, has_ended, key_of, labels_of, name_of, namespace_of
from schemas.selectors import Selector
from services.commands.sources import subject_of

MIRROR = "kubernetes.io/config.mirror"
_DAEMONS = "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"
_DAEMONS_STAY = "ignoring DaemonSet-managed Pods"
_LOCAL = "Pods with local storage (use --delete-emptydir-data to override)"
_LOCAL_GOES = "deleting Pods with local storage"
_BARE = "Pods that declare no controller (use --force to override)"
_BARE_GO = "deleting Pods that declare no controller"
EVERY = Selector()


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a drain has been told it may do: with `force` also what is lost by it."""

    ignores_daemonsets: bool = False
    deletes_local_data: bool = False
    force: bool = False
    pods: Selector = EVERY


@dataclass(frozen=True, slots=True)
class Sorted:
    """The pods of a node: those to go, and what their owner must know, as sentences. With refusals none may go."""

    going: tuple[Object, ...]
    warnings: tuple[str, ...]
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is special about a pod: whether it goes all the same, and what is said of it."""

    goes: bool
    told: str
    refused: bool = False


def sort_out(pods: Iterable[Object], given: Permissions, reader: Reader) -> Sorted:
    """Sort the pods of a node. One that is special in two ways is told of twice; kubectl tells the last."""
    going: list[Object] = []
    warnings: dict[str, list[str]] = {}
    refusals: dict[str, list[str]] = {}
    for pod in sorted(pods, key=lambda each: (namespace_of(each), name_of(each))):
        if not given.pods.matches(labels_of(pod)) or MIRROR in pod["metadata"].get("annotations", {}):
            continue
        found = [] if has_ended(pod) else list(_findings(pod, given, reader))
        for each in found:
            told = refusals if each.refused else warnings
            told.setdefault(each.told, []).append(f"{namespace_of(pod)}/{name_of(pod)}")
        if all(each.goes for each in found):
            going.append(pod)
    return Sorted(
        tuple(going),
        tuple(f"{told}: {', '.join(names)}" for told, names in warnings.items()),
        tuple(f"cannot delete {told}: {', '.join(names)}" for told, names in refusals.items()),
    )


def _findings(pod: Object, given: Permissions, reader: Reader) -> Iterator[_Finding]:
    owner = controller_of(pod)
    if owner is not None and owner["kind"] == DAEMON_SET.kind:
        found = _of_daemon(pod, owner, given, reader)
        yield found
        if not found.goes:
            return
    if any(volume.get("emptyDir") is not None for volume in pod["spec"].get("volumes") or ()):
        yield _Finding(True, _LOCAL_GOES) if given.deletes_local_data else _Finding(False, _LOCAL, True)
    if owner is None:
        yield _Finding(True, _BARE_GO) if given.force else _Finding(False, _BARE, True)


def _of_daemon(pod: Object, owner: Object, given: Permissions, reader: Reader) -> _Finding:
    """A daemon's pod stays, since another would come at once; one whose set is gone goes by force."""
    key = key_of(DAEMON_SET.resource, namespace_of(pod), owner["name"])
    if reader.get(key) is None:
        told = f"Pods whose controller is gone: {subject_of(key)} not found"
        return _Finding(True, f"deleting {told}") if given.force else _Finding(False, told, True)
    return _Finding(False, _DAEMONS_STAY) if given.ignores_daemonsets else _Finding(False, _DAEMONS, True)
