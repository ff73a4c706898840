"""Field selectors: the grammar, and the fields of each kind."""

from __future__ import annotations

import pytest

from schemas.errors import BadRequest
from schemas.kinds import EVENT, EVENT_OF_EVENTS, NODE, POD, SECRET, STATEFUL_SET, Kind
from schemas.objects import Object
from services.api.field_selectors import parse_field_selector
from tests.builders import a_node, a_pod, an_object

RUNNING = {**a_pod("db-0", node="n1"), "status": {"phase": "Running", "podIP": "10.0.0.1"}}
PENDING = {**a_pod("db-1"), "status": {"phase": "Pending"}}
NORMAL = an_object(
    "Event",
    "db-0.1",
    "default",
    involvedObject={"kind": "Pod", "name": "db-0"},
    type="Normal",
    source={"component": "agent"},
)
REPORTED = {**NORMAL, "source": {}, "reportingComponent": "scheduler"}


@pytest.mark.parametrize(
    ("text", "kind", "obj", "selected"),
    [
        ("", POD, PENDING, True),
        ("metadata.name=db-0", POD, RUNNING, True),
        ("metadata.name==db-0", POD, PENDING, False),
        ("metadata.name!=db-0", POD, PENDING, True),
        ("metadata.name=db-0,metadata.namespace=default", STATEFUL_SET, RUNNING, True),
        ("metadata.name=db-0,metadata.namespace=other", POD, RUNNING, False),
        ("status.phase=Running,spec.nodeName=n1", POD, RUNNING, True),
        ("status.phase=Running,,", POD, RUNNING, True),
        ("spec.nodeName=", POD, PENDING, True),
        ("spec.nodeName!=", POD, PENDING, False),
        ("spec.hostNetwork=false", POD, PENDING, True),
        ("status.podIP=10.0.0.1", POD, RUNNING, True),
        ("spec.unschedulable=true", NODE, a_node("n1", unschedulable=True), True),
        ("spec.unschedulable=false", NODE, a_node("n1"), True),
        ("type=Opaque", SECRET, {**an_object("Secret", "a"), "type": "Opaque"}, True),
        ("involvedObject.name=db-0,type!=Warning", EVENT, NORMAL, True),
        ("source=agent", EVENT, NORMAL, True),
        ("source=scheduler", EVENT, REPORTED, True),
        ("regarding.name=db-0,regarding.kind=Pod", EVENT_OF_EVENTS, NORMAL, True),
        ("reportingController=scheduler", EVENT_OF_EVENTS, REPORTED, True),
        (r"involvedObject.name=a\,b\=c\\d", EVENT, {**NORMAL, "involvedObject": {"name": r"a,b=c\d"}}, True),
    ],
)
def test_what_a_selector_selects(text: str, kind: Kind, obj: Object, selected: bool) -> None:
    assert parse_field_selector(text, kind)(obj) is selected


@pytest.mark.parametrize(
    ("text", "kind", "complaint"),
    [
        (
            "spec.replicas=3",
            STATEFUL_SET,
            "field label not supported: spec.replicas; write one of metadata.name",
        ),
        ("status.phase=Running", STATEFUL_SET, "field label not supported: status.phase"),
        ("involvedObject.name=a", EVENT_OF_EVENTS, "field label not supported: involvedObject.name"),
        ("regarding.name=a", EVENT, "field label not supported: regarding.name"),
        ("metadata.name", POD, "cannot read 'metadata.name'"),
        ("metadata.name=a=b", POD, "cannot read"),
        ("metadata.name=a,nonsense", POD, "cannot read 'nonsense'"),
        (r"metadata.name=a\b", POD, "cannot read"),
        ("metadata.name=a\n=", POD, "cannot read"),
    ],
)
def test_other_fields_and_what_cannot_be_read_are_refused(text: str, kind: Kind, complaint: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_field_selector(text, kind)
    assert complaint in str(refused.value)
