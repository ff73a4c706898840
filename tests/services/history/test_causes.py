"""Chains of causes through a real control plane: from a pod back to the command of a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from events import sealing
from events.codec import decode
from events.history import History
from events.sealing import Limits, Sealer
from events.state import State
from schemas.changes import Create, Replace
from schemas.deletion import deletion_of
from schemas.envelopes import Event
from schemas.objects import with_fields
from schemas.positions import stream_id_of
from schemas.retention import DAY, Retention
from services.cli.telling import chain_record, chain_text
from services.history.causes import Chain, Dropped, chain_of
from services.history.filters import Filter, is_by
from services.history.past import Past
from services.history.rollouts import rollouts_of
from tests.builders import a_node
from tests.events.archives import LATER, a_history, a_sealer
from tests.events.worlds import a_statefulset, with_image
from tests.walks.clusters import Cluster, _as_new, set_key

WEB = set_key("web")


def a_cluster(replicas: int = 3) -> Cluster:
    """A cluster with a set of ready pods, which alice made."""
    cluster = Cluster(seed=7, loss=0.0)
    cluster.settle()
    cluster.commit(Create(a_statefulset("web", replicas=replicas)))
    cluster.settle()
    return cluster


def new_image(cluster: Cluster, image: str = "web:2", actor: str = "user:alice") -> Event:
    found = cluster.get(WEB)
    assert found is not None
    cluster.commit(Replace(found, with_image(found, image)), actor=actor)
    (event,) = [each for each in events_of(cluster)[-2:] if each.type == "StatefulSetTemplateChanged"]
    cluster.settle()
    return event


def events_of(cluster: Cluster) -> list[Event]:
    return [decode(entry) for entry in cluster.log.read(0, 100_000)]


def why(cluster: Cluster, name: str, resource: str = "core/pods/default") -> Chain:
    chain = chain_of(Past(History(cluster.log)), f"{resource}/{name}", cluster.log.last())
    assert chain is not None
    return chain


def told(chain: Chain) -> list[tuple[str, str]]:
    return [(link.event.type, link.event.actor.name) for link in chain.links]


def test_a_pod_is_there_since_its_set_was_made() -> None:
    chain = why(a_cluster(), "web-0")
    assert told(chain) == [
        ("PodBound", "controller:scheduler"),
        ("PodCreated", "controller:statefulset"),
        ("StatefulSetCreated", "user:alice"),
    ]
    assert chain.whole


def test_a_pod_that_was_rolled_over_leads_to_who_changed_the_template() -> None:
    cluster = a_cluster()
    change = new_image(cluster)
    for name in ("web-2", "web-1", "web-0"):
        chain = why(cluster, name)
        assert told(chain)[:2] == [
            ("PodBound", "controller:scheduler"),
            ("PodCreated", "controller:statefulset"),
        ]
        assert chain.links[-1].event == change and chain.whole
        assert [each.path for each in chain.links[-1].change.fields if "image" in each.path] == [  # type: ignore[union-attr]
            "spec.template.spec.containers[web].image"
        ]
        assert ("PodDeletionRequested", "controller:statefulset") in told(chain)


def test_the_turns_of_other_pods_are_counted_not_told() -> None:
    cluster = a_cluster(replicas=8)
    new_image(cluster)
    chain = why(cluster, "web-0")
    assert all(link.event.key in (chain.key, WEB) or "revisions" in link.event.key for link in chain.links)
    assert sum(link.turns for link in chain.links) >= 7 * 3


def test_a_pod_that_a_person_deleted_leads_to_that_person() -> None:
    cluster = a_cluster()
    pod = cluster.get("core/pods/default/web-1")
    assert pod is not None
    cluster.commit(deletion_of(pod, cluster.now, None, "Background"), actor="user:bob")
    cluster.settle()
    chain = why(cluster, "web-1")
    assert chain.links[-1].event.actor.name == "user:bob"
    assert chain.links[-1].event.type == "PodDeletionRequested"


def test_what_is_gone_is_explained_by_its_deletion() -> None:
    cluster = a_cluster()
    found = cluster.get(WEB)
    assert found is not None
    cluster.commit(
        Replace(found, with_fields(found, spec={**found["spec"], "replicas": 2})), actor="user:bob"
    )
    cluster.settle()
    chain = why(cluster, "web-2")
    assert chain.obj is None
    assert told(chain)[0][0] == "PodDeleted"
    assert told(chain)[-1] == ("StatefulSetScaled", "user:bob")


def test_of_a_set_the_last_wish_is_told_not_the_last_status() -> None:
    cluster = a_cluster()
    change = new_image(cluster, actor="user:carol")
    chain = why(cluster, "web", "apps/statefulsets/default")
    assert [link.event for link in chain.links] == [change]


def test_there_is_no_chain_of_what_never_was() -> None:
    cluster = a_cluster()
    assert chain_of(Past(History(cluster.log)), "core/pods/default/nosuch", cluster.log.last()) is None


def test_every_commit_of_a_controller_has_a_cause_before_it() -> None:
    cluster = a_cluster()
    new_image(cluster)
    events = events_of(cluster)
    positions = {event.position for event in events}
    for event in events:
        if event.actor.name.startswith("controller:"):
            assert event.cause in positions and event.cause < event.position, event


def rollouts(cluster: Cluster) -> Sequence[tuple[str, int, str, tuple[str, ...]]]:
    found = rollouts_of(State(), iter(events_of(cluster)))
    return [(each.what, each.number, each.outcome, tuple(pod.name for pod in each.pods)) for each in found]


def test_rollouts_tell_revision_outcome_and_the_pods_in_their_order() -> None:
    cluster = a_cluster()
    new_image(cluster, "web:2")
    new_image(cluster, "web:1", actor="user:bob")
    assert rollouts(cluster) == [
        ("created", 1, "complete", ("web-0", "web-1", "web-2")),
        ("template", 2, "complete", ("web-2", "web-1", "web-0")),
        ("template", 3, "complete", ("web-2", "web-1", "web-0")),
    ]


def test_a_rollout_that_another_one_ends_is_superseded() -> None:
    cluster = a_cluster()
    for image in ("web:2", "web:3"):
        found = cluster.get(WEB)
        assert found is not None
        cluster.commit(Replace(found, with_image(found, image)))
    assert [each[2] for each in rollouts(cluster)] == ["complete", "superseded", "running"]
    cluster.delete(WEB)
    cluster.settle()
    assert [each[2] for each in rollouts(cluster)] == ["complete", "superseded", "deleted"]


def test_a_partition_holds_a_rollout_and_letting_it_go_is_one_of_its_own() -> None:
    cluster = a_cluster()
    found = cluster.get(WEB)
    assert found is not None
    held = with_fields(
        with_image(found, "web:2"),
        spec={
            **with_image(found, "web:2")["spec"],
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
        },
    )
    cluster.commit(Replace(found, held))
    cluster.settle()
    now = cluster.get(WEB)
    assert now is not None
    free = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    cluster.commit(Replace(now, with_fields(now, spec={**now["spec"], "updateStrategy": free})))
    cluster.settle()
    assert rollouts(cluster)[1:] == [
        ("template", 2, "complete", ("web-2",)),
        ("partition 2 to 0", 2, "complete", ("web-1", "web-0")),
    ]


def test_filters_by_actor_kind_type_and_name() -> None:
    cluster = a_cluster()
    new_image(cluster, actor="user:bob")
    events = events_of(cluster)

    def types(wanted: Filter) -> set[str]:
        return {event.type for event in events if wanted.matches(event)}

    assert types(Filter(actor="bob")) == {"StatefulSetTemplateChanged"}
    assert types(Filter(actor="controller:scheduler", type="*Bound")) == {"PodBound"}
    assert types(Filter(resources=frozenset({"apps/controllerrevisions"}))) == {"ControllerRevisionCreated"}
    assert {event.key for event in events if Filter(name="web-2", people_only=False).matches(event)} == {
        "core/pods/default/web-2"
    }
    people = [event for event in events if Filter(people_only=True, name="web*").matches(event)]
    assert [event.type for event in people] == ["StatefulSetCreated", "StatefulSetTemplateChanged"]
    assert not any(is_by(event, "bo") for event in events)


def test_a_pod_that_waited_for_a_node_is_there_because_of_who_wished_for_it() -> None:
    """The node that joined at last made it possible; nobody would take it for the reason."""
    cluster = Cluster(seed=7, nodes=0, loss=0.0)
    cluster.settle()
    cluster.commit(Create(a_statefulset("web", replicas=2)))
    cluster.settle()
    cluster.commit(Create(_as_new(a_node("n9", cpu="8"))), actor="node:n9")
    cluster.settle()
    for name in ("web-0", "web-1"):
        assert told(why(cluster, name))[-1] == ("StatefulSetCreated", "user:alice")


SETS, PODS = "apps/statefulsets", "core/pods"


def a_thinned_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch, *resources: str) -> tuple[Past, Sealer]:
    """Return the past of a log in which all of a set `old` is so old that it is thinned, and of `web` not all."""
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 20)
    monkeypatch.setattr(sealing, "SNAPSHOT_SHARE", 1000)
    cluster = Cluster(seed=7, loss=0.0)
    cluster.settle()
    cluster.commit(Create(a_statefulset("old", replicas=1)))
    cluster.settle()
    cluster.commit(Create(a_statefulset("web", replicas=3)))
    for number in range(6):
        new_image(cluster, f"web:{number + 2}")
    sealer = a_sealer(cluster.log, folder, Limits(20, 0, 0))
    sealer.look(LATER)
    sealer.thin(Retention(7, dict.fromkeys(resources, DAY)), LATER)
    return Past(a_history(cluster.log, folder)), sealer


def test_a_chain_says_what_a_policy_has_dropped_where_it_breaks_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past, sealer = a_thinned_cluster(tmp_path, monkeypatch, SETS)
    until = sealer.manifest.thinned[0].until
    chain = chain_of(past, "core/pods/default/old-0", sealer.manifest.end)
    assert chain is not None and not chain.whole
    assert told(chain) == [("PodBound", "controller:scheduler"), ("PodCreated", "controller:statefulset")]
    assert chain.dropped == Dropped((SETS,), until, (7,))
    assert "and what led to that is dropped: no events of statefulsets are kept up to" in chain_text(
        chain, "now"
    )
    assert "(retention policy 0-7; see chronoset retention show)" in chain_text(chain, "now")
    assert chain_record(chain)["dropped"] == {
        "kinds": [SETS],
        "until": stream_id_of(until),
        "policies": ["0-7"],
    }
    recent = chain_of(past, "core/pods/default/web-0", sealer.manifest.end)
    assert recent is not None and recent.whole and recent.dropped is None
    assert chain_record(recent)["dropped"] is None


def test_of_an_object_whose_events_are_all_dropped_the_chain_says_only_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past, sealer = a_thinned_cluster(tmp_path, monkeypatch, PODS, SETS)
    until = sealer.manifest.thinned[0].until
    for key in ("core/pods/default/old-0", "apps/statefulsets/default/old"):
        chain = chain_of(past, key, sealer.manifest.end)
        assert chain is not None and chain.obj is not None and chain.links == () and not chain.whole
        assert chain.dropped is not None and set(chain.dropped.resources) == {PODS, SETS}
        assert (
            chain_text(chain, "now")
            .splitlines()[1]
            .startswith("  what led to that is dropped: no events of pods and")
        )
        assert chain_of(past, key, until - 1) is None, "what there was then is not known"
    assert chain_of(past, "core/pods/default/nosuch", sealer.manifest.end) is None


def test_a_pod_of_which_only_statuses_are_kept_was_not_made_by_the_first_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past, sealer = a_thinned_cluster(tmp_path, monkeypatch, PODS)
    chain = chain_of(past, "apps/statefulsets/default/old", sealer.manifest.end)
    assert chain is not None and chain.whole, "of sets all is kept"
    for number in range(3):
        chain = chain_of(past, f"core/pods/default/web-{number}", sealer.manifest.end)
        assert chain is not None and (chain.whole or chain.dropped is not None)
        assert [link.event.type for link in chain.links][:1] in (["PodBound"], [])
