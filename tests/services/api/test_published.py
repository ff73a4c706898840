"""What an API server tells a cluster about itself."""

from __future__ import annotations

from dataclasses import replace

from events.state import State
from schemas.changes import Create, Replace
from schemas.objects import Object, key_of_object
from schemas.validation import validate_create
from services.api.published import Place, publications
from services.bootstrap import NAMESPACES
from tests.builders import a_state, an_object

HERE = Place("127.0.0.1", 6443, "PEM")
SPACES = tuple(an_object("Namespace", name) for name in NAMESPACES)
SLICE = "discovery.k8s.io/endpointslices/default/kubernetes"


def published(state: State, place: Place = HERE) -> State:
    objects = [
        change.object if isinstance(change, Create) else change.new for change in publications(place, state)
    ]  # type: ignore[union-attr]
    for obj in objects:
        state.put(key_of_object(obj), state.get(key_of_object(obj)), _stored(obj))
    return state


def _stored(obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": "1", "uid": obj["metadata"]["name"]}}


def test_a_new_server_publishes_its_place_and_its_authority() -> None:
    changes = publications(HERE, a_state(*SPACES))

    created = {change.key: change.object for change in changes if isinstance(change, Create)}
    assert sorted(created) == [
        "core/configmaps/kube-system/extension-apiserver-authentication",
        "core/services/default/kubernetes",
        SLICE,
    ]
    assert created[SLICE]["endpoints"][0]["addresses"] == ["127.0.0.1"]
    assert all(validate_create(obj) == () for obj in created.values())


def test_what_is_published_is_not_published_again() -> None:
    assert publications(HERE, published(a_state(*SPACES))) == []


def test_a_server_that_moved_says_so_and_leaves_the_service_alone() -> None:
    changes = publications(replace(HERE, port=7443), published(a_state(*SPACES)))

    (change,) = changes
    assert isinstance(change, Replace) and change.key == SLICE
    assert change.new["ports"][0]["port"] == 7443


def test_what_a_cluster_begins_with_is_made_again_and_comes_first() -> None:
    state = published(a_state(*SPACES))
    state.remove("core/namespaces/kube-node-lease", SPACES[-1])
    (change,) = publications(HERE, state)
    assert isinstance(change, Create) and change.key == "core/namespaces/kube-node-lease"
    changes = publications(HERE, a_state())
    assert [change.key for change in changes] == [f"core/namespaces/{name}" for name in NAMESPACES]
