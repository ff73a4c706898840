"""The second part of the story: nodes that wait for their network, and a log collector on each of them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from schemas.errors import Unavailable
from schemas.event_types import condition_of
from schemas.kinds import CONTROLLER_REVISION, DAEMON_SET, NODE, POD
from schemas.node_reasons import KUBELET_NOT_READY
from schemas.objects import Object, key_of, labels_of, name_of
from schemas.positions import Position
from services.demo.clusters import wait_for
from services.demo.collector import PORT
from services.demo.plays import Play, images_by_number
from services.demo.tales import (
    ASKED,
    CREATED,
    READY,
    daemons_in,
    rivals_of,
    tale_of_nodes,
    tale_of_set,
    types_by_people,
)
from services.demo.witnesses import answer_of, containers_in_proc

NODES = 2
IMAGE, TAGS = "fluentd", ("1.0", "1.1")
NAMESPACE = "kube-system"
AGENT, COLLECTOR = "net-agent", "fluentd-elasticsearch"
WRITERS = ("writer-0", "writer-1")
STEPS = (
    "Nodes without a network: the log collector and ordinary pods wait",
    "A network agent's daemons run there all the same: the nodes turn Ready, and the rest follows",
    "A node joins and gets its daemons by itself, another leaves with its own",
    "The collector is updated node by node, and undone by its ControllerRevision",
)
_MANIFESTS = Path(__file__).parent
_SET_KEY = key_of(DAEMON_SET.resource, NAMESPACE, COLLECTOR)
_UNTOLERATED = "node(s) had untolerated taint {node.kubernetes.io/not-ready: }"


def play_all(play: Play, first: int) -> None:
    """Play every step, the first under that number. Raises WrongObservation where one is not as it should be."""
    for number, (title, step) in enumerate(zip(STEPS, (wait, begin, join, update), strict=True), first):
        with play.stage.step(number, title):
            step(play)


def wait(play: Play) -> None:
    """Nodes are NotReady and tainted; the collector's set wants no pod there, and ordinary pods fit nowhere."""
    stage = play.stage
    play.run("chronoset get nodes -o wide", "kubectl get nodes -o wide")
    stage.check("the nodes' Ready", _states(play), dict.fromkeys(("n1", "n2"), f"False {KUBELET_NOT_READY}"))
    _apply(play, "fluentd.yaml")
    found = wait_for(lambda: _unscheduled(play), "the writers to be refused")
    refusal = f"0/{NODES} nodes are available: {NODES} {_UNTOLERATED}."
    stage.check("why the writers wait", found, dict.fromkeys(WRITERS, refusal), refusal)
    waits = wait_for(lambda: _waiting_of_collector(play), "the collector's set to say what it waits for")
    desired = _collector(play)["status"]["desiredNumberScheduled"]
    stage.check("nodes that are to have a collector", desired, 0, f"0, {waits}")


def begin(play: Play) -> None:
    """The agent's pods tolerate the taint and use the nodes' network: they run, and then all others."""
    stage, before = play.stage, play.here()
    _apply(play, "net-agent.yaml")
    _settle(play, ("n1", "n2"))
    play.run("chronoset get nodes,ds,pods -A -o wide", "kubectl get nodes,ds,pods -A -o wide")
    stage.check("the nodes' Ready", _states(play), dict.fromkeys(("n1", "n2"), "True KubeletReady"))
    agents = {node: str(pod["status"]["podIP"]) for node, pod in _daemons(play, AGENT).items()}
    stage.check("the agents' addresses are their nodes'", agents, _addresses(play))
    order = [f"{AGENT} {CREATED}", f"node {READY}", f"{COLLECTOR} {CREATED}"]
    stage.check(
        "the order in the log, on each node", _order(play, before, order), dict.fromkeys(("n1", "n2"), order)
    )
    _check_collected(play)


def join(play: Play) -> None:
    """A node is added to the running cluster, and one is removed; nobody else does anything."""
    stage, before = play.stage, play.here()
    play.run("chronoset node add n3", "kubeadm join ..., on a new machine")
    _settle(play, ("n1", "n2", "n3"))
    events = play.since(before)
    stage.check(
        "daemons that came, and their node", _created(play, before), [f"{AGENT} n3", f"{COLLECTOR} n3"]
    )
    stage.check("of what happened, written by people", types_by_people(events), [])
    _check_collected(play)

    play.run("chronoset node remove n1", "kubectl drain n1 --ignore-daemonsets && kubectl delete node n1")
    left = [name_of(pod) for pod in play.cluster.views.list(POD.resource) if _node_of(pod) == "n1"]
    stage.check("pods of n1 that are left", left, [])
    stage.check("processes of n1 in /proc", containers_in_proc(play.cluster.data_dir / "nodes" / "n1"), {})
    _settle(play, ("n2", "n3"))
    _check_collected(play)


def update(play: Play) -> None:
    """A new image with maxUnavailable 1, then back to the revision before."""
    stage, before = play.stage, play.here()
    patch = '{"spec":{"template":{"spec":{"containers":[{"name":"fluentd-elasticsearch","image":"fluentd:1.1"}]}}}}'
    json_patch = '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"fluentd:1.1"}]'
    target = f"ds/{COLLECTOR} -n {NAMESPACE}"
    play.run(
        f"chronoset patch {target} --type json -p {shlex.quote(json_patch)} --wait",
        f"kubectl patch {target} -p {shlex.quote(patch)} && kubectl rollout status {target}",
    )
    _check_replaced(play, before)
    stage.check("versions over HTTP", _versions(play), {"n2": "1.1", "n3": "1.1"})

    before = play.here()
    play.run(f"chronoset rollout undo {target} --wait", f"kubectl rollout undo {target}")
    _check_replaced(play, before)
    stage.check("versions over HTTP", _versions(play), {"n2": "1.0", "n3": "1.0"})
    play.run(f"chronoset rollout history {target}", f"kubectl rollout history {target}")
    stage.check("its revisions", images_by_number(_revisions(play)), {2: "fluentd:1.1", 3: "fluentd:1.0"})
    events = play.since(0)
    rivals = rivals_of(events, daemons_in(events))
    stage.check("nodes that ever had two daemons of a set at once, by the log", rivals, [])


def _apply(play: Play, manifest: str) -> None:
    path = shlex.quote(str(shutil.copy(_MANIFESTS / manifest, play.cluster.data_dir)))
    play.run(f"chronoset apply -f {path}", f"kubectl apply -f {path}")


def _settle(play: Play, nodes: tuple[str, ...]) -> None:
    """Wait until each of these nodes has its Ready daemons, no other has any, and the writers are Ready."""

    def look() -> bool:
        sets = [_daemons(play, name) for name in (AGENT, COLLECTOR)]
        states = _states(play)
        return (
            all(sorted(found) == list(nodes) for found in sets)
            and sorted(states) == list(nodes)
            and all(state.startswith("True") for state in states.values())
            and all(condition_of(pod, "Ready") == "True" for pod in _writers(play).values())
        )

    with play.stage.busy("the rest follows"):
        wait_for(look, f"the daemons of {', '.join(nodes)}")


def _check_collected(play: Play) -> None:
    """Check that each collector has read what the other pods of its node have printed, and nothing else."""
    wanted = _pods_by_node(play)

    def look() -> Mapping[str, Any] | None:
        found = _answers(play)
        return found if {node: sorted(each["lines"]) for node, each in found.items()} == wanted else None

    answers: Mapping[str, Any] = {}
    with suppress(Unavailable):
        answers = wait_for(look, "the collectors to have read the logs")
    found = {node: sorted(each["lines"]) for node, each in (answers or _answers(play)).items()}
    play.stage.check("what the collectors serve: whose lines, by node", found, wanted)
    lines = {pod.partition("/")[2]: line for each in answers.values() for pod, line in each["last"].items()}
    told = {pod: lines.get(pod, "").endswith(f" of {pod}") for pod in WRITERS}
    shown = ", ".join(f'"{lines.get(pod)}"' for pod in WRITERS)
    play.stage.check("the writers' last lines", told, dict.fromkeys(WRITERS, True), shown)


def _check_replaced(play: Play, before: Position) -> None:
    """Check that since a position the collector was replaced on one node after the other."""
    events = play.since(before)
    tale = tale_of_set(events, daemons_in(play.since(0)), COLLECTOR)
    expected = [f"{node} {what}" for node in ("n2", "n3") for what in (ASKED, CREATED, READY)]
    play.stage.check("what the log tells, never two at a time", tale, expected)


def _order(play: Play, before: Position, wanted: list[str]) -> dict[str, list[str]]:
    """Return, by node, in which order these things happened since a position."""
    told = tale_of_nodes(play.since(before), daemons_in(play.since(0)))
    return {node: [line for line in lines if line in wanted] for node, lines in sorted(told.items())}


def _created(play: Play, before: Position) -> list[str]:
    """Return the daemons created since a position, as `set node`."""
    found = daemons_in(play.since(before)).values()
    return sorted((f"{each.set} {each.node}" for each in found), reverse=True)


def _states(play: Play) -> dict[str, str]:
    """Return each node's Ready condition, as `status reason`."""
    return {
        name_of(node): f"{each['status']} {each['reason']}"
        for node in sorted(play.cluster.views.list(NODE.resource), key=name_of)
        for each in node["status"]["conditions"]
        if each["type"] == "Ready"
    }


def _addresses(play: Play) -> dict[str, str]:
    nodes = sorted(play.cluster.views.list(NODE.resource), key=name_of)
    return {name_of(node): str(node["status"]["addresses"][0]["address"]) for node in nodes}


def _writers(play: Play) -> dict[str, Object]:
    return {name: pod for name, pod in play.pods().items() if name in WRITERS}


def _unscheduled(play: Play) -> dict[str, str] | None:
    """Return why each writer is not scheduled, once all say so."""
    found = {
        name: str(each.get("message", ""))
        for name, pod in _writers(play).items()
        for each in (pod.get("status") or {}).get("conditions", ())
        if each["type"] == "PodScheduled"
    }
    return found if len(found) == len(WRITERS) and all(found.values()) else None


def _collector(play: Play) -> Object:
    found = play.cluster.views.get(_SET_KEY)
    assert found is not None
    return found


def _waiting_of_collector(play: Play) -> str:
    found = play.cluster.views.waiting().get(("daemonset", _SET_KEY))
    return f"it waits for {found.text}" if found and found.text else ""


def _revisions(play: Play) -> dict[int, Object]:
    found = play.cluster.views.list(CONTROLLER_REVISION.resource, NAMESPACE)
    ours = {int(each["revision"]): each for each in found if labels_of(each).get("name") == COLLECTOR}
    return dict(sorted(ours.items()))


def _daemons(play: Play, name: str) -> dict[str, Object]:
    """Return a set's pods by their nodes; empty unless every one is Ready and not about to end."""
    pods = [
        pod for pod in play.cluster.views.list(POD.resource, NAMESPACE) if labels_of(pod).get("name") == name
    ]
    if any(condition_of(pod, "Ready") != "True" or "deletionTimestamp" in pod["metadata"] for pod in pods):
        return {}
    return dict(sorted((_node_of(pod), pod) for pod in pods))


def _pods_by_node(play: Play) -> dict[str, list[str]]:
    """Return `namespace/name` of the pods of each node, but the collector's own."""
    found: dict[str, list[str]] = {node: [] for node in _states(play)}
    for pod in play.cluster.views.list(POD.resource):
        if labels_of(pod).get("name") != COLLECTOR:
            found[_node_of(pod)].append(f"{pod['metadata']['namespace']}/{name_of(pod)}")
    return {node: sorted(pods) for node, pods in found.items()}


def _answers(play: Play) -> dict[str, Any]:
    """Return what each node's collector serves over HTTP; it must name that node."""
    told = {}
    for node, pod in _daemons(play, COLLECTOR).items():
        answer = answer_of(pod["status"]["podIP"], port=PORT)
        told[node] = (
            answer if answer["node"] == node else {"lines": [], "last": {}, "version": "of another node"}
        )
    return told


def _versions(play: Play) -> dict[str, str]:
    return {node: str(answer["version"]) for node, answer in _answers(play).items()}


def _node_of(pod: Object) -> str:
    return str(pod["spec"].get("nodeName", ""))
