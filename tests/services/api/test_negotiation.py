"""Accept and Content-Type, with the headers that real clients send."""

from __future__ import annotations

import pytest

from services.api.failures import Failure
from services.api.negotiation import JSON, YAML, Form, body_type_of, form_of, patch_type_of

KUBECTL_GET = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,"
    "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
METADATA_INFORMER = (
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,"
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form()),
        ("*/*", Form()),
        ("application/json, */*", Form()),
        ("application/yaml", Form(YAML)),
        (KUBECTL_GET, Form(JSON, "Table", "v1")),
        (METADATA_INFORMER, Form(JSON, "PartialObjectMetadataList", "v1")),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Form(JSON, "Table", "v1beta1")),
        ("application/vnd.kubernetes.protobuf,application/json", Form()),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Form()),
    ],
)
def test_the_first_form_that_can_be_met_is_taken(accept: str, form: Form) -> None:
    assert form_of(accept) == form


@pytest.mark.parametrize(
    "accept",
    ["application/vnd.kubernetes.protobuf", "image/png", "application/json;as=Table;v=v9;g=meta.k8s.io"],
)
def test_a_client_that_accepts_nothing_we_have_gets_406(accept: str) -> None:
    with pytest.raises(Failure) as refused:
        form_of(accept)
    assert refused.value.status["reason"] == "NotAcceptable"


def test_bodies_are_json_yaml_or_protobuf() -> None:
    assert body_type_of("") == body_type_of("application/json; charset=utf-8") == JSON
    assert body_type_of("application/yaml") == YAML
    with pytest.raises(Failure) as refused:
        body_type_of("text/html")
    assert refused.value.status["code"] == 415


def test_patches_are_told_by_their_type_and_apply_is_refused_with_advice() -> None:
    assert patch_type_of("application/strategic-merge-patch+json") == "strategic"
    with pytest.raises(Failure) as refused:
        patch_type_of("application/apply-patch+yaml")
    assert refused.value.status["code"] == 415
    assert "apply on the client" in refused.value.status["message"]
