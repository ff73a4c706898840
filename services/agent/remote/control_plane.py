"""The control plane as a node reaches it over the HTTP API, with no more rights than its own (services.agent.port).

Pods, the node itself and volumes are watched; ConfigMaps and Secrets too, each by its name as long as a pod of the node
names it, as the kubelet does (pkg/kubelet/util/manager); claims are asked for when a pod starts. What a node writes
names the uid that it means, so nothing can hit a successor of the same name.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from schemas.canonical import canonical
from schemas.deletion import DATA_FINALIZER
from schemas.errors import AlreadyExists, ChronosetError, Forbidden, NotFound, PreconditionFailed, Unavailable
from schemas.kinds import BY_RESOURCE, CONFIG_MAP, NODE, POD, SECRET, VOLUME
from schemas.objects import Object, is_terminating, name_of, namespace_of, uid_of, version_of, with_fields
from schemas.positions import Position
from services.agent.registrations import is_on, registered, to_be_reclaimed
from services.agent.remote.clocks import shifted
from services.agent.remote.connections import JSON_PATCH, Api
from services.agent.remote.feeds import Feed, Moves, NamesFeed, Source
from services.agent.sources import references_of
from services.headless import Record

PATIENCE = 3.0
"""Seconds that an agent waits for a first answer before it holds still."""
ATTEMPTS = 5
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_BY_NAME = (CONFIG_MAP.resource, SECRET.resource)


class ApiControlPlane:
    """A ControlPlane for one node. `holder` tells this agent from any other that says it is this node."""

    def __init__(self, api: Api, node: str, holder: str) -> None:
        self.displaced: ChronosetError | None = None
        """Why another agent is this node, once one is: then this one may do nothing for it any more."""
        self._api = api
        self._node = node
        self._holder = holder
        self._moves = Moves()
        self._lock = threading.Lock()
        self._feeds: dict[Source, Feed] = {}
        self._names = NamesFeed(api, self._moves)
        self._names.start()

    def close(self) -> None:
        """Watch no more."""
        with self._lock:
            feeds = list(self._feeds.values())
        for feed in feeds:
            feed.stop()
        self._names.stop()

    def log_id(self) -> str:
        return self._api.log_id()

    def register(self, node: Object) -> None:
        """As the protocol says; what people, and controllers, have said of the node stays (see `registered`).

        Raises Forbidden where another agent is this node.
        """
        if self.displaced:
            raise self.displaced
        told = canonical(node).object
        path = path_of(NODE.resource, "", name_of(node))
        for _ in range(ATTEMPTS):
            try:
                found = self._asked(path)
                # Only now, when the cluster has answered, is it known what time it is there.
                wanted = with_fields(told, status=shifted(told["status"], self._api.clock.ahead))
                if found is None:
                    self._learned(self._api.ask("POST", path_of(NODE.resource, ""), wanted))
                else:
                    self._bring_up_to_date(path, found, registered(found, wanted))
                return
            except (PreconditionFailed, AlreadyExists):
                continue
        raise Unavailable(f"node {name_of(node)!r} could not be registered, others were faster")

    def heartbeat(self, node: str) -> None:
        """As the protocol says. Raises Forbidden where another agent is this node."""
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": node, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": self._holder},
        }
        try:
            self._api.ask("PUT", f"{LEASES}/{node}", lease)
        except PreconditionFailed as error:
            self.displaced = Forbidden(str(error))
            raise self.displaced from error

    def pods_on(self, node: str) -> list[Object]:
        ahead = self._api.clock.ahead
        pods = self._feed(_pods_of(node)).objects(PATIENCE)
        self._drop_what_no_pod_names(pods)
        return [_in_our_time(pod, ahead) for pod in pods] if ahead else pods

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        if resource in _BY_NAME or (resource, name) == (NODE.resource, self._node):
            is_vital = resource == NODE.resource
            source = Source(path_of(resource, namespace), f"metadata.name={name}", is_vital)
            found = self._feed(source).objects(PATIENCE)
            return found[0] if found else None
        return self._asked(path_of(resource, namespace, name))

    def node_now(self, name: str) -> Object | None:
        return self._asked(path_of(NODE.resource, "", name))

    def published(self) -> tuple[Record, ...]:
        return self._names.records(PATIENCE)

    def addresses_of_others(self, namespace: str, name: str) -> set[str]:
        """As the protocol says, as far as this node can know: of its own pods, and of those that have a name."""
        pods = [
            pod for pod in self.pods_on(self._node) if (namespace_of(pod), name_of(pod)) != (namespace, name)
        ]
        named = [each for each in self.published() if (each.namespace, each.host) != (namespace, name)]
        own = {str(address) for pod in pods if (address := (pod.get("status") or {}).get("podIP"))}
        return own | {each.address for each in named}

    def wait(self, after: Position, timeout: float) -> Position:
        if self.displaced:
            raise self.displaced
        return self._moves.wait(after, timeout)

    def report(self, pod: Object, status: Object) -> None:
        path = f"{path_of(POD.resource, namespace_of(pod), name_of(pod))}/status"
        wanted = shifted(status, self._api.clock.ahead)
        patch = [_meaning(pod, "uid"), {"op": "add", "path": "/status", "value": wanted}]
        try:
            now = self._api.ask("PATCH", path, patch, JSON_PATCH)
        except PreconditionFailed as error:
            raise NotFound(f"{name_of(pod)} with uid {uid_of(pod)} does not exist") from error
        self._feed(_pods_of(pod["spec"]["nodeName"])).put(now)

    def end_pods(self, pods: Sequence[Object]) -> None:
        for pod in pods:
            if not is_terminating(pod):
                self._delete(pod, {})

    def confirm_deleted(self, pod: Object) -> None:
        self._delete(pod, {"gracePeriodSeconds": 0})

    def volumes_to_reclaim(self, node: str) -> Sequence[Object]:
        me = self.get(NODE.resource, "", node)
        held = to_be_reclaimed(self._feed(Source(path_of(VOLUME.resource, ""))).objects(PATIENCE))
        return [] if me is None else [each for each in held if is_on(each, me)]

    def release_volume(self, node: str, volume: Object) -> None:  # noqa: ARG002 - the API knows who asks
        path = path_of(VOLUME.resource, "", name_of(volume))
        found = self._asked(path)
        if found is None or uid_of(found) != uid_of(volume) or not to_be_reclaimed([found]):
            return
        kept = [each for each in found["metadata"]["finalizers"] if each != DATA_FINALIZER]
        patch = [
            _meaning(volume, "uid"),
            _meaning(found, "resourceVersion"),
            {"op": "add", "path": "/metadata/finalizers", "value": kept},
        ]
        try:
            self._api.ask("PATCH", path, patch, JSON_PATCH)
        except NotFound:
            return
        except PreconditionFailed as error:
            raise Unavailable(
                f"volume {name_of(volume)!r} could not be released, others were faster"
            ) from error

    def _bring_up_to_date(self, path: str, found: Object, wanted: Object) -> None:
        """Write what is new of the node: labels and annotations as such, the rest as its status."""
        if wanted["metadata"] != found["metadata"]:
            metadata = {
                name: wanted["metadata"].get(name)
                for name in ("labels", "annotations", "uid", "resourceVersion")
            }
            gone = dict.fromkeys(found["metadata"].get("annotations") or {})
            metadata["annotations"] = {**gone, **(metadata["annotations"] or {})}
            found = self._api.ask("PATCH", path, {"metadata": metadata}, "application/merge-patch+json")
        if wanted.get("status") != found.get("status"):
            found = self._api.ask("PUT", f"{path}/status", with_fields(found, status=wanted["status"]))
        self._learned(found)

    def _learned(self, node: Object) -> None:
        """Take an answer about the own node, unless nobody asked for it yet."""
        source = Source(path_of(NODE.resource, ""), f"metadata.name={name_of(node)}", True)
        if feed := self._feeds.get(source):
            feed.put(node)

    def _delete(self, pod: Object, options: Object) -> None:
        path = path_of(POD.resource, namespace_of(pod), name_of(pod))
        try:
            now = self._api.ask("DELETE", path, {**options, "preconditions": {"uid": uid_of(pod)}})
        except (NotFound, PreconditionFailed):
            return
        feed = self._feed(_pods_of(pod["spec"].get("nodeName", "")))
        is_marked = is_terminating(now) and options.get("gracePeriodSeconds") != 0
        is_gone = not is_marked and not now["metadata"].get("finalizers")
        if is_gone:
            feed.remove(now, version_of(now))
        else:
            feed.put(now)

    def _asked(self, path: str) -> Object | None:
        try:
            return self._api.ask("GET", path)
        except NotFound:
            return None

    def _feed(self, source: Source) -> Feed:
        with self._lock:
            feed = self._feeds.get(source)
            if feed is None:
                feed = self._feeds[source] = Feed(self._api, source, self._moves)
            return feed

    def _drop_what_no_pod_names(self, pods: Sequence[Object]) -> None:
        """Watch no ConfigMap or Secret for a pod that is gone."""
        plurals = {BY_RESOURCE[resource].plural for resource in _BY_NAME}
        wanted = {
            Source(path_of(resource, namespace_of(pod)), f"metadata.name={name}")
            for pod in pods
            for resource, name in references_of(pod["spec"])
        }
        with self._lock:
            idle = [
                source
                for source in self._feeds
                if source.path.rpartition("/")[2] in plurals and source not in wanted
            ]
            dropped = [self._feeds.pop(source) for source in idle]
        for feed in dropped:
            feed.stop()


def path_of(resource: str, namespace: str, name: str = "") -> str:
    """Return the path of an object, or of all (`/api/v1/namespaces/default/pods/db-0`)."""
    kind = BY_RESOURCE[resource]
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
    place = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{place}/{kind.plural}" + (f"/{name}" if name else "")


def _pods_of(node: str) -> Source:
    return Source(path_of(POD.resource, ""), f"spec.nodeName={node}", is_vital=True)


def _meaning(obj: Object, field: str) -> Object:
    """Return the operation by which a patch means only this object, or this version of it: else it is refused."""
    return {"op": "add", "path": f"/metadata/{field}", "value": obj["metadata"][field]}


def _in_our_time(pod: Object, ahead: int) -> Object:
    return with_fields(pod, status=shifted(pod["status"], -ahead)) if pod.get("status") else pod
