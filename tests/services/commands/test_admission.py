"""What a write is asked that looks at other objects: the class of a new claim, and whether one may grow."""

from __future__ import annotations

import pytest

from schemas.errors import Forbidden
from schemas.objects import Object
from services.commands.admission import admitted
from tests.builders import a_claim, a_class, a_node, a_state

LARGER = {"resources": {"requests": {"storage": "2Gi"}}}
NOT_RESIZABLE = (
    'persistentvolumeclaims "data" is forbidden: only dynamically provisioned pvc can be resized and the storageclass '
    "that provisions the pvc must support resize"
)


def grown(claim: Object) -> Object:
    return {**claim, "spec": {**claim["spec"], **LARGER}}


def test_a_new_claim_gets_the_default_class() -> None:
    state = a_state(a_class(), a_class("other", default=False))

    assert admitted(None, a_claim(), state)["spec"]["storageClassName"] == "local"


@pytest.mark.parametrize("name", ["", "other"])
def test_a_claim_that_says_which_class_it_wants_keeps_it(name: str) -> None:
    claim = a_claim(spec={"storageClassName": name})

    assert admitted(None, claim, a_state(a_class())) is claim


def test_without_a_default_class_a_claim_stays_as_it_is() -> None:
    claim = a_claim()

    assert admitted(None, claim, a_state(a_class(default=False))) is claim


def test_other_kinds_are_none_of_its_business() -> None:
    node = a_node()

    assert admitted(None, node, a_state()) is node


def test_a_bound_claim_grows_where_its_class_allows_it() -> None:
    claim = a_claim(volume="pv1", spec={"storageClassName": "local"})

    assert admitted(claim, grown(claim), a_state(a_class(allowVolumeExpansion=True))) == grown(claim)


@pytest.mark.parametrize(
    ("claim", "classes", "problem"),
    [
        (
            a_claim(),
            [a_class(allowVolumeExpansion=True)],
            'persistentvolumeclaims "data" is forbidden: Only bound persistent volume claims can be expanded',
        ),
        (a_claim(volume="pv1", spec={"storageClassName": "local"}), [a_class()], NOT_RESIZABLE),
        (a_claim(volume="pv1", spec={"storageClassName": "gone"}), [a_class()], NOT_RESIZABLE),
        (a_claim(volume="pv1", spec={"storageClassName": ""}), [a_class()], NOT_RESIZABLE),
    ],
)
def test_other_claims_do_not_grow(claim: Object, classes: list[Object], problem: str) -> None:
    with pytest.raises(Forbidden) as refused:
        admitted(claim, grown(claim), a_state(*classes))

    assert str(refused.value) == problem
