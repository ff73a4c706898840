"""Plays a scenario: what its steps mean, on the real log, commit, fold, commands and controllers, in memory.

The player is kubectl, the scheduler and every kubelet; it knows none of the controllers' rules. README.md documents
the format; whoever plays the files against a real kube-controller-manager writes another player.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from events.commit import Committer, Edges, Intent, Proposal
from events.memory import MemoryLog
from events.replica import Applied, Replica
from events.state import State
from schemas.changes import Change, Replace
from schemas.changes import Delete as GoneForGood
from schemas.envelopes import Actor
from schemas.kinds import CLAIM, CONTROLLER_REVISION, POD, STATEFUL_SET
from schemas.objects import (
    Key,
    Object,
    controller_of,
    is_terminating,
    key_of,
    name_of,
    uid_of,
    with_fields,
    with_metadata,
)
from schemas.times import rfc3339
from services.bootstrap import NAMESPACES
from services.commands.commands import Apply, Command, Delete, Patch, Scale, Undo
from services.commands.execution import LogExecutor
from services.controllers.controller import Controller
from services.controllers.garbage import GARBAGE
from services.controllers.statefulset import STATEFULSET
from services.controllers.volumes import CLAIM_PROTECTION, VOLUMES

NOON = 1_800_000_000_000
USER = Actor("user:alice")
NODE = Actor("node:n1")
CONTROLLERS: tuple[Controller[Any], ...] = (STATEFULSET, GARBAGE, VOLUMES)
BAD_TAG = ":bad"
"""No node can pull an image with this tag."""
RESOURCES = {
    "sts": STATEFUL_SET.resource,
    "pod": POD.resource,
    "pvc": CLAIM.resource,
    "revision": CONTROLLER_REVISION.resource,
    "configmap": "core/configmaps",
}
SHORT = {POD.kind: "pod", CLAIM.kind: "pvc", CONTROLLER_REVISION.kind: "revision", STATEFUL_SET.kind: "sts"}
Looked = tuple[int, Key]


class Player:
    """A cluster, and the hands that move it. `seen` holds every event, oldest first."""

    def __init__(self) -> None:
        self.now = NOON
        self.seen: list[Applied] = []
        self.waiting: dict[Key, str] = {}
        self._dirty: dict[Looked, None] = {}
        self._timers: dict[Looked, int] = {}
        self._commands = 0
        self.log = MemoryLog(clock=lambda: self.now)
        self.log.create()
        self._replica = Replica(self.log, on_applied=self._on_applied)
        self._replica.load()
        edges = Edges(clock=lambda: self.now)
        self._committer = Committer(self.log, self, lambda _: self._replica.load(), edges)
        self._executor = LogExecutor(self.log, self, lambda _: self._replica.load(), edges)
        for name in NAMESPACES:
            self.command(Apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))

    @property
    def state(self) -> State:
        self._replica.load()
        with self._replica.reading() as state:
            return state

    # What commands and commits read

    def get(self, key: Key) -> Object | None:
        return self.state.get(key)

    def list(self, resource: str, namespace: str = "") -> Sequence[Object]:
        return self.state.list(resource, namespace)

    def kept_revisions(self, uid: str) -> Sequence[Object]:
        revisions = (each.new or each.old for each in self.seen)
        return [
            each
            for each in revisions
            if each
            and each["kind"] == CONTROLLER_REVISION.kind
            and (controller_of(each) or {}).get("uid") == uid
        ]

    def kept_revision(self, uid: str, number: int) -> Object | None:
        found = [each for each in self.kept_revisions(uid) if each["revision"] == number]
        return found[-1] if found else None

    def unseal(self, obj: Object) -> Object:
        return obj

    # The control plane

    def settle(self) -> None:
        """Let the controllers work until none has anything to do at this moment."""
        for _ in range(2000):
            if not self._dirty:
                return
            looked = next(iter(self._dirty))
            del self._dirty[looked]
            self._look(looked)
        raise AssertionError(f"the controllers do not come to rest: {self.waiting}")

    def wait(self, seconds: float) -> None:
        """Let time pass; timers go off when they are due, in between."""
        until = self.now + int(seconds * 1000)
        for _ in range(1000):
            due = [at for at in self._timers.values() if at <= until]
            if not due:
                break
            self.now = max(self.now, min(due))
            for looked in [looked for looked, at in self._timers.items() if at <= self.now]:
                del self._timers[looked]
                self._dirty[looked] = None
            self.settle()
        else:
            raise AssertionError(f"a controller asks again and again: {self.waiting}")
        self.now = until
        self.settle()

    def _look(self, looked: Looked) -> None:
        controller, key = CONTROLLERS[looked[0]], looked[1]
        self._timers.pop(looked, None)
        view = controller.view_of(self.state, key)
        if view is None:
            self.waiting.pop(key, None)
            return
        decision = controller.reconcile(view, self.now)
        self.waiting[key] = decision.waiting_for
        if decision.requeue_at is not None:
            self._timers[looked] = decision.requeue_at
        if decision.changes:
            guard = f"guard/{controller.name}/{key}"
            read = (guard, self.state.guards.get(guard, 0))
            self._commit(decision.changes, Actor(f"controller:{controller.name}"), decision.rests_on, read)
            self._dirty[looked] = None

    def _on_applied(self, applied: Iterable[Applied]) -> None:
        with self._replica.reading() as state:
            for each in applied:
                if each.old is None and each.new is None:
                    continue
                self.seen.append(each)
                for index, controller in enumerate(CONTROLLERS):
                    for key in controller.triggers(state, each.old, each.new):
                        self._dirty[index, key] = None

    def _commit(
        self,
        changes: Sequence[Change],
        actor: Actor,
        rests_on: Sequence[Object] = (),
        guard: tuple[str, int] | None = None,
    ) -> None:
        self._commands += 1
        intent = Intent(actor, f"commit-{self._commands}")
        self._committer.commit(lambda: Proposal(changes, rests_on, guard), intent, attempts=1)
        self._replica.load()

    # People

    def command(self, command: Command) -> None:
        """Carry a command of a person out; raises what it is refused with."""
        self._commands += 1
        self._executor.execute(command, USER, f"command-{self._commands}")
        self._replica.load()

    # The node

    def schedule(self, name: str) -> None:
        """Bind a pod; the claims that it uses are protected from then on."""
        pod = self.pod(name)
        if pod["spec"].get("nodeName"):
            return
        changes: list[Change] = [Replace(pod, with_fields(pod, spec={**pod["spec"], "nodeName": "n1"}))]
        for volume in pod["spec"].get("volumes", ()):
            name_of_claim = volume.get("persistentVolumeClaim", {}).get("claimName", "")
            claim = self.get(key_of(CLAIM.resource, "default", name_of_claim))
            if claim is not None and not is_terminating(claim):
                changes.append(Replace(claim, with_metadata(claim, finalizers=[CLAIM_PROTECTION])))
        self._commit(changes, NODE)

    def report(self, name: str, phase: str, ready: bool, containers: Sequence[Object] = ()) -> None:
        """Report the state of a pod, which is bound first where it is not."""
        self.schedule(name)
        pod = self.pod(name)
        before: Object = next(
            (each for each in pod.get("status", {}).get("conditions", ()) if each["type"] == "Ready"), {}
        )
        told = "True" if ready else "False"
        since = before["lastTransitionTime"] if before.get("status") == told else rfc3339(self.now)
        status: Object = {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": told, "lastTransitionTime": since}],
        }
        if containers:
            status["containerStatuses"] = [*containers]
        self._commit([Replace(pod, with_fields(pod, status=status))], NODE)

    def stick(self, name: str, reason: str) -> None:
        container = {
            "name": "web",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": {"reason": reason}},
        }
        self.report(name, "Pending", False, [container])

    def confirm(self, name: str) -> None:
        """Confirm that a terminating pod has ended."""
        pod = self.pod(name)
        assert is_terminating(pod), f"{name} is not asked to end"
        self._commit([_ending(pod)], NODE)

    def run(self) -> None:
        """Let every pod do what it should, one after the other, until nothing happens any more."""
        for _ in range(500):
            self.settle()
            busy = next((pod for pod in self.pods() if _has_work(pod)), None)
            if busy is None:
                return
            if is_terminating(busy):
                self.confirm(name_of(busy))
            elif _image(busy).endswith(BAD_TAG):
                self.stick(name_of(busy), "ImagePullBackOff")
            else:
                self.report(name_of(busy), "Running", True)
        raise AssertionError("the pods do not come to rest")

    def pods(self) -> Sequence[Object]:
        return sorted(self.state.list(POD.resource, "default"), key=name_of)

    def pod(self, name: str) -> Object:
        found = self.get(key_of(POD.resource, "default", name))
        assert found is not None, f"there is no pod {name}"
        return found


def _ending(pod: Object) -> Change:
    """What removes a pod whose processes are gone: at once, or once its last finalizer goes."""
    if pod["metadata"].get("finalizers"):
        return Replace(pod, with_metadata(pod, deletionGracePeriodSeconds=0))
    return GoneForGood(pod)


def _has_work(pod: Object) -> bool:
    if is_terminating(pod):
        return bool(pod["metadata"].get("deletionGracePeriodSeconds"))
    status = pod.get("status", {})
    return status.get("phase", "Pending") == "Pending" and not status.get("containerStatuses")


def _image(obj: Object) -> str:
    spec = obj["data"]["spec"]["template"]["spec"] if obj["kind"] == CONTROLLER_REVISION.kind else obj["spec"]
    return str(spec["containers"][0]["image"])


# Steps


def key_named(reference: str) -> Key:
    """`pod/db-0` -> its key in the namespace default."""
    short, _, name = reference.partition("/")
    return key_of(RESOURCES[short], "default", name)


def _target(value: Any) -> tuple[Key, Any]:
    """The object of a step and the rest of it: the set `db` where none is named with `of`."""
    if isinstance(value, dict):
        return key_named(value.get("of", "sts/db")), value.get("to")
    return key_named("sts/db"), value


def _set_image(player: Player, value: Any) -> None:
    key, image = _target(value)
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]
    player.command(Patch(key, "json", patch))


def _patch(player: Player, value: Any) -> None:
    key, _ = _target(value)
    kind = "json" if "json" in value else "merge"
    player.command(Patch(key, kind, value[kind]))


def _scale(player: Player, value: Any) -> None:
    player.command(Scale(*_target(value)))


def _undo(player: Player, value: Any) -> None:
    player.command(Undo(*_target(value)))


def _revision_key(player: Player, image: str) -> Key:
    found = player.list(CONTROLLER_REVISION.resource, "default")
    (name,) = (name_of(each) for each in found if _image(each) == image)
    return key_named(f"revision/{name}")


def _delete(player: Player, value: Any) -> None:
    wish = value if isinstance(value, dict) else {"of": value}
    short, _, name = wish["of"].partition("/")
    key = _revision_key(player, name) if short == "revision" else key_named(wish["of"])
    player.command(Delete(key, wish.get("cascade", "background"), wish.get("grace")))


def _each(act: Callable[[Player, str], None]) -> Callable[[Player, Any], None]:
    def play(player: Player, value: Any) -> None:
        for name in [value] if isinstance(value, str) else value:
            act(player, name)
            player.settle()

    return play


def _stuck(player: Player, value: Any) -> None:
    for name, reason in value.items():
        player.stick(name, reason)


STEPS: dict[str, Callable[[Player, Any], None]] = {
    "image": _set_image,
    "patch": _patch,
    "scale": _scale,
    "undo": _undo,
    "delete": _delete,
    "scheduled": _each(Player.schedule),
    "ready": _each(lambda player, name: player.report(name, "Running", True)),
    "notReady": _each(lambda player, name: player.report(name, "Running", False)),
    "failed": _each(lambda player, name: player.report(name, "Failed", False)),
    "succeeded": _each(lambda player, name: player.report(name, "Succeeded", False)),
    "gone": _each(Player.confirm),
    "stuck": _stuck,
    "wait": lambda player, value: player.wait(value),
    "run": lambda player, _: player.run(),
}
"""What a step may do, besides `apply`: name -> how it is played."""


# What is seen


def deeds(applied: Iterable[Applied], watched: Sequence[str]) -> Sequence[str]:
    """Return what controllers created and deleted, in order: `create pod/db-0 db:1`, `delete pvc/data-db-0`."""
    told = (_deed(each) for each in applied if each.event.actor.name.startswith("controller:"))
    return [deed for deed in told if deed and deed.split()[1].partition("/")[0] in watched]


def _deed(applied: Applied) -> str:
    old, new = applied.old, applied.new
    obj = new or old
    assert obj is not None
    short = SHORT.get(obj["kind"])
    if short in (None, "sts"):
        return ""
    label = f"{short}/{_image(obj) if short == 'revision' else name_of(obj)}"
    if old is None:
        return f"create {label} {_image(obj)}" if short == "pod" else f"create {label}"
    is_asked = not is_terminating(old) and (new is None or is_terminating(new))
    return f"delete {label}" if is_asked else ""


def owner_told(player: Player, obj: Object) -> str:
    """Return who owns an object: `sts/db`, `nobody`, `former pod/db-1` where that one is gone; several with `and`."""
    references = obj["metadata"].get("ownerReferences") or ()
    return " and ".join(_owner_told(player, each) for each in references) or "nobody"


def _owner_told(player: Player, reference: Object) -> str:
    short = SHORT.get(reference["kind"], reference["kind"].lower())
    label = f"{short}/{reference['name']}"
    if short not in RESOURCES:
        return label
    owner = player.get(key_named(label))
    return label if owner is not None and uid_of(owner) == reference["uid"] else f"former {label}"


def pods_told(player: Player) -> dict[str, str]:
    """Pod -> image, of those that are not asked to end."""
    return {name_of(pod): _image(pod) for pod in player.pods() if not is_terminating(pod)}


def claims_told(player: Player) -> dict[str, str]:
    """Claim -> who owns it, and that it is asked to end."""
    claims = sorted(player.list(CLAIM.resource, "default"), key=name_of)
    return {
        name_of(each): owner_told(player, each) + (", terminating" if is_terminating(each) else "")
        for each in claims
    }


def revisions_told(player: Player) -> dict[int, str]:
    """Number -> image, of all revisions whose data is a pod template."""
    found = player.list(CONTROLLER_REVISION.resource, "default")
    return {each["revision"]: _image(each) for each in found if "spec" in each["data"]}


def owners_told(player: Player, references: Iterable[str]) -> dict[str, str]:
    """`pod/db-0` -> who controls it."""
    return {each: owner_told(player, player.get(key_named(each)) or {"metadata": {}}) for each in references}


def status_told(player: Player, fields: Iterable[str]) -> dict[str, Any]:
    """The named fields of the set's status, 0 where they are left out; revisions by their image."""
    status = (player.get(key_named("sts/db")) or {}).get("status", {})
    images = {
        name_of(each): _image(each)
        for each in player.list(CONTROLLER_REVISION.resource, "default")
        if "spec" in each["data"]
    }
    return {
        field: images.get(status.get(field, ""), "") if field.endswith("Revision") else status.get(field, 0)
        for field in fields
    }
