"""Typed, read-only views of raw objects, for code that decides and never edits.

A view costs one attribute; its properties read the dict below when asked. Controllers see views, so that a
typing mistake in a field's path is made, and found, in one place.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.objects import Object, namespace_of, uid_of
from schemas.times import Milliseconds, parse_rfc3339


@dataclass(frozen=True, slots=True)
class ObjectView:
    """What every object has."""

    raw: Object

    @property
    def name(self) -> str:
        name: str = self.raw["metadata"]["name"]
        return name

    @property
    def namespace(self) -> str:
        return namespace_of(self.raw)

    @property
    def uid(self) -> str:
        return uid_of(self.raw)

    @property
    def labels(self) -> dict[str, str]:
        return self.raw["metadata"].get("labels") or {}

    @property
    def annotations(self) -> dict[str, str]:
        return self.raw["metadata"].get("annotations") or {}

    @property
    def generation(self) -> int:
        return int(self.raw["metadata"].get("generation", 0))

    @property
    def is_terminating(self) -> bool:
        return "deletionTimestamp" in self.raw["metadata"]

    @property
    def created_at(self) -> Milliseconds:
        """Whole seconds, as metav1.Time has them; 0 where the object was not committed yet."""
        created = self.raw["metadata"].get("creationTimestamp")
        return parse_rfc3339(created) if created else 0

    @property
    def deletion_asked_at(self) -> Milliseconds:
        """When deletion was asked for: the deadline without the grace period; 0 where it was not."""
        metadata = self.raw["metadata"]
        deadline = metadata.get("deletionTimestamp")
        grace = metadata.get("deletionGracePeriodSeconds", 0)
        return parse_rfc3339(deadline) - grace * 1000 if deadline else 0


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """What an agent reports of one container."""

    raw: Object

    @property
    def name(self) -> str:
        return str(self.raw["name"])

    @property
    def image(self) -> str:
        return str(self.raw.get("image", ""))

    @property
    def is_ready(self) -> bool:
        return bool(self.raw.get("ready"))

    @property
    def restarts(self) -> int:
        return int(self.raw.get("restartCount", 0))

    @property
    def waiting(self) -> Object:
        """`{reason, message}` while it waits, else empty."""
        return self.raw.get("state", {}).get("waiting") or {}

    @property
    def terminated(self) -> Object:
        """`{reason, exitCode, message}` once it has ended, else empty."""
        return self.raw.get("state", {}).get("terminated") or {}


@dataclass(frozen=True, slots=True)
class PodView(ObjectView):
    """A pod."""

    @property
    def node(self) -> str:
        return str(self.raw["spec"].get("nodeName", ""))

    @property
    def phase(self) -> str:
        """Pending where nobody has reported yet, as the API server would have it."""
        phase: str = self.raw.get("status", {}).get("phase", "Pending")
        return phase

    @property
    def reason(self) -> str:
        return str(self.raw.get("status", {}).get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.raw.get("status", {}).get("message", ""))

    def condition(self, kind: str) -> Object | None:
        """Return the condition of type `kind` (`Ready`, `PodScheduled`), if it was reported."""
        for condition in self.raw.get("status", {}).get("conditions", ()):
            if condition["type"] == kind:
                found: Object = condition
                return found
        return None

    @property
    def containers(self) -> list[ContainerStatus]:
        """The reported statuses, init containers first."""
        status = self.raw.get("status", {})
        reported = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
        return [ContainerStatus(each) for each in reported]


@dataclass(frozen=True, slots=True)
class ClaimView(ObjectView):
    """A PersistentVolumeClaim."""


@dataclass(frozen=True, slots=True)
class WorkloadView(ObjectView):
    """What a StatefulSet and a DaemonSet have in common, defaults applied."""

    @property
    def selector(self) -> Object | None:
        selector: Object | None = self.raw["spec"].get("selector")
        return selector

    @property
    def template(self) -> Object:
        template: Object = self.raw["spec"]["template"]
        return template

    @property
    def min_ready_seconds(self) -> int:
        return int(self.raw["spec"].get("minReadySeconds", 0))

    @property
    def is_rolling(self) -> bool:
        """True for RollingUpdate, false for OnDelete."""
        return bool(self._strategy.get("type", "RollingUpdate") == "RollingUpdate")

    @property
    def status(self) -> Object:
        return self.raw.get("status") or {}

    @property
    def _strategy(self) -> Object:
        return self.raw["spec"].get("updateStrategy") or {}


@dataclass(frozen=True, slots=True)
class StatefulSetView(WorkloadView):
    """A StatefulSet, defaults applied."""

    @property
    def replicas(self) -> int:
        return int(self.raw["spec"].get("replicas", 1))

    @property
    def start(self) -> int:
        """The first ordinal."""
        return int(self.raw["spec"].get("ordinals", {}).get("start", 0))

    @property
    def service_name(self) -> str:
        return str(self.raw["spec"].get("serviceName", ""))

    @property
    def claim_templates(self) -> list[Object]:
        return self.raw["spec"].get("volumeClaimTemplates") or []

    @property
    def deletes_claims_when_deleted(self) -> bool:
        """True if the claims go with the set."""
        return bool(self._retention.get("whenDeleted") == "Delete")

    @property
    def deletes_claims_when_scaled(self) -> bool:
        """True if the claims of a pod beyond the range go with that pod."""
        return bool(self._retention.get("whenScaled") == "Delete")

    @property
    def is_parallel(self) -> bool:
        return bool(self.raw["spec"].get("podManagementPolicy") == "Parallel")

    @property
    def has_rolling_update(self) -> bool:
        """True where `rollingUpdate` is written out; defaulting leaves it out where only the type is
        given."""
        return self._strategy.get("rollingUpdate") is not None

    @property
    def partition(self) -> int:
        """An index, not an ordinal: the pods below it stay on the current revision."""
        return int((self._strategy.get("rollingUpdate") or {}).get("partition", 0))

    @property
    def max_unavailable(self) -> int | str:
        value: int | str = (self._strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1)
        return value

    @property
    def _retention(self) -> Object:
        return self.raw["spec"].get("persistentVolumeClaimRetentionPolicy") or {}


@dataclass(frozen=True, slots=True)
class DaemonSetView(WorkloadView):
    """A DaemonSet, defaults applied."""

    @property
    def history_limit(self) -> int:
        return int(self.raw["spec"].get("revisionHistoryLimit", 10))

    @property
    def max_unavailable(self) -> int | str:
        """How many nodes may be without an available pod during an update: a number, or a percentage."""
        value: int | str = (self._strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1)
        return value

    @property
    def max_surge(self) -> int | str:
        """How many nodes may have an old and a new pod side by side: a number, or a percentage."""
        value: int | str = (self._strategy.get("rollingUpdate") or {}).get("maxSurge", 0)
        return value
