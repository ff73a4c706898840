"""Which pods an agent has in its hands: those bound to its node, those that run already, none that it cannot run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from schemas.errors import LostHistory, Unavailable
from schemas.kinds import NODE
from schemas.objects import Object, has_ended, is_terminating, name_of, namespace_of, uid_of, version_of
from schemas.positions import Position
from schemas.times import Milliseconds
from services.agent import admission
from services.agent.addresses import identity_of
from services.agent.hosts import HostsFiles
from services.agent.lifecycle import Exited, within
from services.agent.networks import must_wait, sentence_of
from services.agent.runtimes.port import FoundPod, FoundRun, Refused
from services.agent.statuses import Place, Remark, rejection_of
from services.agent.surroundings import HOLD, Surroundings
from services.agent.works import adopted_work, new_work, title_of


class Intake:
    """Compares the pods that are to be here with those that are. `send` reports the status of a pod.

    `node` is the node as it describes itself, for as long as the cluster does not know it.
    """

    def __init__(
        self, around: Surroundings, node: Object, hosts: HostsFiles, send: Callable[[Object, Object], None]
    ) -> None:
        self.is_adopted = False
        self.retry_at: Milliseconds | None = None
        """When to look again at pods for which there was no room on the disk."""
        self._around = around
        self._node = node
        self._hosts = hosts
        self._send = send
        self._recalled: set[str] = set()
        self._refused: set[str] = set()
        self._held: set[str] = set()

    def recall(self) -> None:
        """Hold the addresses of the node and of the pods that run already, before any agent of this machine works.

        A runtime that does not answer is asked again when they are adopted.
        """
        settings = self._around.settings
        settings.allotments.hold(settings.name, settings.name, settings.address)
        with suppress(Unavailable):
            for found in self._around.runtime.found():
                self._recalled.add(uid_of(found.pod))
                self._hold_address(found)

    def look(self, pods: Sequence[Object], now: Milliseconds) -> None:
        """Take in what is new among `pods`, those bound to this node; see what changed; let go what is gone."""
        self.retry_at = None
        works = self._around.works
        if not self.is_adopted:
            found = self._around.runtime.found()
            self._recognise(max((version_of(known.pod) for known in found), default=0))
            self.adopt(found, {uid_of(pod): pod for pod in pods}, now)
        wanted = {uid_of(pod) for pod in pods}
        for uid, work in works.items():
            if uid not in wanted and not work.is_gone:
                self._around.log.info("the pod's object is gone", pod=work.title, uid=uid)
                work.lose(now)
        self._refused &= wanted
        self._held &= wanted
        titles = {work.title for work in works.values()}
        for pod in pods:
            known = works.get(uid_of(pod))
            if known and pod is not known.pod:
                known.see(pod, now)
            elif not known and title_of(pod) not in titles:
                self._try_to_take_in(pod, now)

    def adopt(self, pods: Sequence[FoundPod], latest: dict[str, Object], now: Milliseconds) -> None:
        """Take over the pods that run already; `latest` are their objects as they are now, by uid."""
        around = self._around
        for found in (_no_later(each, now) for each in pods):
            uid = uid_of(found.pod)
            work = adopted_work(found, latest.get(uid), around.settings.address)
            around.works[uid] = work
            self._recalled.discard(uid)
            self._hold_address(found)
            for run in found.runs:
                if run.exit is not None:
                    work.apply(run.container, Exited(run.exit))
                else:
                    around.runtime.watch(uid, run.container)
            around.log.info("adopted a pod", pod=work.title, uid=uid, runs=len(found.runs))
            work.see(work.pod, now)
        while self._recalled:
            around.settings.allotments.release(self._recalled.pop())
        self.is_adopted = True

    def _recognise(self, seen: Position) -> None:
        """Check that the log is the one this node worked for before, and not shorter. Raises LostHistory."""
        control_plane = self._around.control_plane
        record = self._around.settings.directory / "log-id"
        log_id = control_plane.log_id()
        known = record.read_text() if record.exists() else ""
        if known not in ("", log_id):
            raise LostHistory(f"this node worked for the log {known}, not for {log_id}")
        if control_plane.wait(0, 0.0) < seen:
            raise LostHistory("the log is shorter than this node has seen", seen)
        record.write_text(log_id)

    def _try_to_take_in(self, pod: Object, now: Milliseconds) -> None:
        try:
            self._take_in(pod, now)
        except OSError as error:
            self._around.log.error(
                "cannot make room for a pod; trying again", pod=name_of(pod), error=str(error)
            )
            self.retry_at = now + HOLD

    def _take_in(self, pod: Object, now: Milliseconds) -> None:
        """Accept a pod, or refuse it, or finish one that never ran here."""
        around, uid = self._around, uid_of(pod)
        if is_terminating(pod):
            around.control_plane.confirm_deleted(pod)
            return
        if uid in self._refused or has_ended(pod):
            return
        others = [work.pod for work in around.works.values() if not work.is_done]
        if rejection := self._rejection_of(pod, others):
            self._reject(pod, rejection, now)
            return
        if must_wait(pod, around.network()):
            self._hold(pod, now)
            return
        try:
            sandbox = around.runtime.open(pod, self._address_for(pod), now)
        except Refused as refused:
            around.settings.allotments.release(uid)
            self._reject(pod, admission.Rejection(refused.reason, str(refused)), now)
            return
        place = Place(sandbox.address, around.settings.address, now, sandbox.remarks)
        work = new_work(pod, place)
        self._hosts.write(work)
        around.works[uid] = work
        around.log.info("accepted a pod", pod=name_of(pod), uid=uid, address=sandbox.address)

    def _rejection_of(self, pod: Object, others: Sequence[Object]) -> admission.Rejection | None:
        """Return why the node as the cluster knows it, with what people have said of it, cannot take a pod.

        A pod may be bound for a label that this node has not heard of yet: then it asks (predicate.go, generalFilter).
        """
        name, plane = self._around.settings.name, self._around.control_plane
        node = plane.get(NODE.resource, "", name) or self._node
        found = admission.rejection_of(pod, node, others)
        if found and found.is_of_the_node:
            node = plane.node_now(name) or self._node
            found = admission.rejection_of(pod, node, others)
        return found

    def _reject(self, pod: Object, rejection: admission.Rejection, now: Milliseconds) -> None:
        self._around.log.warning("rejected a pod", pod=name_of(pod), uid=uid_of(pod), reason=rejection.reason)
        self._send(pod, rejection_of(pod, rejection.reason, rejection.message, now))
        self._refused.add(uid_of(pod))

    def _hold(self, pod: Object, now: Milliseconds) -> None:
        """Say once that a pod waits for the node's network; the next look after that is up takes it in."""
        if uid_of(pod) in self._held:
            return
        around = self._around
        why = f"network is not ready: {sentence_of(around.network())}"
        remark = Remark("PodReadyToStartContainers", "False", "NetworkNotReady", why)
        waiting = new_work(pod, Place("", around.settings.address, now, (remark,)))
        around.log.info("a pod waits for the network", pod=name_of(pod), uid=uid_of(pod))
        self._send(pod, waiting.status(False, now))
        self._held.add(uid_of(pod))

    def _address_for(self, pod: Object) -> str:
        settings = self._around.settings
        if pod["spec"].get("hostNetwork") or settings.shares_address:
            return settings.address
        others = self._around.control_plane.addresses_of_others(namespace_of(pod), name_of(pod))
        identity = identity_of(pod, settings.cluster)
        return settings.allotments.take(uid_of(pod), title_of(pod), identity, others)

    def _hold_address(self, found: FoundPod) -> None:
        self._around.settings.allotments.hold(uid_of(found.pod), title_of(found.pod), found.address)


def _no_later(found: FoundPod, now: Milliseconds) -> FoundPod:
    """Return a pod that was found whose runs began, and ended, by now."""

    def seen(run: FoundRun) -> FoundRun:
        end = within(run.exit, 0, now) if run.exit else None
        return replace(run, started=within(run.started, 0, now), exit=end)

    accepted_at = min(found.accepted_at, now)
    return replace(found, accepted_at=accepted_at, runs=tuple(map(seen, found.runs)))
