"""State knows the pods and revisions that have no controller."""

from __future__ import annotations

import pytest

from events.state import State
from schemas.objects import Object, key_of_object, with_metadata

OWNED = [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": True}]
DEPENDENT = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "c"}]


def an_object(kind: str = "Pod", **metadata: object) -> Object:
    version = "apps/v1" if kind == "ControllerRevision" else "v1"
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "x", "namespace": "default", **metadata},
        "spec": {},
    }


def after(*versions: Object) -> State:
    state, old = State(), None
    for new in versions:
        state.put(key_of_object(new), old, new)
        old = new
    return state


@pytest.mark.parametrize(
    ("kind", "resource"), [("Pod", "core/pods"), ("ControllerRevision", "apps/controllerrevisions")]
)
def test_an_orphan_is_known_until_it_is_adopted_or_removed(kind: str, resource: str) -> None:
    orphan = an_object(kind)
    adopted = with_metadata(orphan, ownerReferences=OWNED)
    assert after(orphan).orphans(resource, "default") == [orphan]
    assert after(orphan).orphans(resource, "other") == []
    assert after(orphan, adopted).orphans(resource, "default") == []
    assert after(orphan, adopted, orphan).orphans(resource, "default") == [orphan]
    state = after(orphan)
    state.remove(key_of_object(orphan), orphan)
    assert state.orphans(resource, "default") == []


def test_an_owner_that_is_no_controller_leaves_an_orphan() -> None:
    pod = an_object(ownerReferences=DEPENDENT)
    changed = {**pod, "status": {"phase": "Running"}}
    assert after(pod, changed).orphans("core/pods", "default") == [changed]


def test_a_copy_keeps_its_own_orphans() -> None:
    orphan = an_object()
    state = after(orphan)
    copy = state.copy()
    state.remove(key_of_object(orphan), orphan)
    assert copy.orphans("core/pods", "default") == [orphan]


def test_other_kinds_are_nobodys_orphans() -> None:
    assert after(an_object("ConfigMap")).orphans("core/configmaps", "default") == []
