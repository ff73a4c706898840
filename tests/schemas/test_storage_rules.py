"""What is valid of storage classes, claims, volumes and host paths, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.objects import Object, with_fields
from schemas.storage_rules import HOST_PATH_TYPES
from schemas.validation import validate_create, validate_update
from tests.builders import a_claim, a_class, a_pod, a_volume


def said(obj: Object) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in validate_create(obj)]


def a_made(**spec: Any) -> Object:
    volume = a_volume()
    return {**volume, "spec": {**volume["spec"], **spec}}


def without_affinity() -> Object:
    volume = a_volume()
    return with_fields(volume, spec={k: v for k, v in volume["spec"].items() if k != "nodeAffinity"})


HOST = {"hostPath": {"path": "/srv", "type": ""}}
TYPES = "supported values: " + ", ".join(f'"{each}"' for each in HOST_PATH_TYPES)

WRONG: list[tuple[Object, str]] = [
    (a_class(provisioner=""), "provisioner: Required value"),
    (
        a_class(reclaimPolicy="Recycle"),
        'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"',
    ),
    (
        a_class(mode="Later"),
        'volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"',
    ),
    (a_class(parameters={"": "x"}), 'parameters: Invalid value: "": field can not be empty.'),
    (
        a_class(allowedTopologies=[{"matchLabelExpressions": [{"key": "zone", "values": []}]}]),
        "allowedTopologies[0].matchLabelExpressions[0].values: Required value",
    ),
    (
        a_class(allowedTopologies=[{"matchLabelExpressions": [{"key": "zone", "values": ["a", "a"]}]}]),
        'allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "a"',
    ),
    (a_claim(size="0"), 'spec.resources[storage]: Invalid value: "0": must be greater than zero'),
    (
        a_claim(spec={"accessModes": ["ReadWriteOnce", "ReadWriteOncePod"]}),
        "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
    ),
    (without_affinity(), "spec.nodeAffinity: Required value: Local volume requires node affinity"),
    (a_made(local={"path": "../etc"}), "spec.local.path: Invalid value: \"../etc\": must not contain '..'"),
    (a_made(local={"path": ""}), "spec.local.path: Required value"),
    (
        a_made(capacity={"storage": "0"}),
        'spec.capacity[storage]: Invalid value: "0": must be greater than zero',
    ),
    (
        a_made(capacity={"iops": "1"}),
        'spec.capacity: Unsupported value: {"iops": "1"}: supported values: "storage"',
    ),
    (
        a_made(nodeAffinity={}),
        "spec.nodeAffinity.required: Required value: must specify required node constraints",
    ),
    (
        a_pod(volumes=[{"name": "v", "hostPath": {"path": "/a/../b"}}]),
        "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
    ),
    (
        a_pod(volumes=[{"name": "v", "hostPath": {"path": "/a", "type": "Folder"}}]),
        f'spec.volumes[0].hostPath.type: Unsupported value: "Folder": {TYPES}',
    ),
    (
        a_pod(volumes=[{"name": "v", "hostPath": {"path": ""}}]),
        "spec.volumes[0].hostPath.path: Required value",
    ),
]


@pytest.mark.parametrize(("obj", "cause"), WRONG, ids=[row[1][:60] for row in WRONG])
def test_what_is_wrong_is_named(obj: Object, cause: str) -> None:
    assert cause in said(obj)


def test_a_class_that_is_right_is_taken() -> None:
    topologies = [{"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}]

    assert said(a_class(allowedTopologies=topologies, parameters={"fs": "xfs"})) == []


FROZEN: list[tuple[str, Any, str]] = [
    ("parameters", {"a": "b"}, "parameters: Forbidden: updates to parameters are forbidden."),
    ("provisioner", "example.com/x", "provisioner: Forbidden: updates to provisioner are forbidden."),
    ("reclaimPolicy", "Retain", "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden."),
    ("volumeBindingMode", "Immediate", 'volumeBindingMode: Invalid value: "Immediate": field is immutable'),
]


@pytest.mark.parametrize(("field", "value", "cause"), FROZEN, ids=[row[0] for row in FROZEN])
def test_a_class_stays_as_it_was_made(field: str, value: Any, cause: str) -> None:
    old = a_class()

    assert [f"{each.field}: {each.message}" for each in validate_update(old, {**old, field: value})] == [
        cause
    ]


def test_expansion_and_the_default_may_change() -> None:
    old = a_class()

    assert validate_update(old, {**old, "allowVolumeExpansion": True}) == ()
    assert validate_update(old, with_fields(old, metadata={**old["metadata"], "annotations": {}})) == ()


def test_the_nodes_that_reach_a_volume_do_not_change() -> None:
    old = a_volume()
    elsewhere = a_volume(node="n2")["spec"]["nodeAffinity"]

    [cause] = validate_update(old, with_fields(old, spec={**old["spec"], "nodeAffinity": elsewhere}))

    assert cause.field == "spec.nodeAffinity"
    assert cause.message.endswith("field is immutable, except for updating from beta label to GA")


def test_a_volume_without_affinity_may_be_given_one() -> None:
    old = with_fields(without_affinity(), spec={**without_affinity()["spec"]})
    spec = {name: value for name, value in old["spec"].items() if name != "local"} | HOST
    old = with_fields(old, spec=spec)
    placed = {**spec, "nodeAffinity": a_volume()["spec"]["nodeAffinity"]}

    assert validate_update(old, with_fields(old, spec=placed)) == ()
