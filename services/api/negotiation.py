"""Which form an answer takes, and which form a body has: `Accept` and `Content-Type`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.api.failures import not_acceptable, unsupported_media_type

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
TABLE = "Table"
PARTIAL = "PartialObjectMetadata"
PARTIAL_LIST = "PartialObjectMetadataList"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCHES = {JSON_PATCH: "json", MERGE_PATCH: "merge", STRATEGIC_PATCH: "strategic"}
"""Media types of patches, and the types of the command that they become."""
ANSWERED = (JSON, YAML)
_AS = (TABLE, PARTIAL, PARTIAL_LIST)
_META = "meta.k8s.io"
_META_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Form:
    """How to answer: the media type, and as what (empty: as the object itself) in which version of meta.k8s.io."""

    media_type: str = JSON
    shape: str = ""
    version: str = "v1"


_PLAIN = Form()


def form_of(accept: str) -> Form:
    """Return the form for an `Accept` header: the first clause that can be met, weights aside.

    Clients list what they like best first. Raises Failure 406 where none can (pkg/endpoints/handlers/negotiation).
    """
    if not accept or accept == JSON:
        return _PLAIN
    for clause in accept.split(","):
        form = _form_of_clause(clause)
        if form is not None:
            return form
    raise not_acceptable((*ANSWERED,))


def _form_of_clause(clause: str) -> Form | None:
    media_type, parameters = _parts(clause)
    if media_type in ("*/*", "application/*", "text/*", "text/plain"):
        media_type = JSON
    if media_type in ("text/yaml", "application/x-yaml"):
        media_type = YAML
    if media_type not in ANSWERED:
        return None
    shape = parameters.get("as", "")
    if not shape:
        return Form(media_type) if "g" not in parameters else None
    version = parameters.get("v", "v1")
    if shape not in _AS or parameters.get("g", _META) != _META or version not in _META_VERSIONS:
        return None
    return Form(media_type, shape, version)


def body_type_of(content_type: str) -> str:
    """Return JSON, YAML or PROTOBUF for the `Content-Type` of an object; none given means JSON. Raises Failure 415."""
    media_type, _ = _parts(content_type)
    match media_type:
        case "" | "application/json" | "text/json":
            return JSON
        case "application/yaml" | "application/x-yaml" | "text/yaml":
            return YAML
        case "application/vnd.kubernetes.protobuf":
            return PROTOBUF
    raise unsupported_media_type((JSON, YAML, PROTOBUF))


def patch_type_of(content_type: str) -> str:
    """Return `json`, `merge` or `strategic` for the `Content-Type` of a patch. Raises Failure 415, for apply too."""
    media_type, _ = _parts(content_type)
    found = PATCHES.get(media_type)
    if found is not None:
        return found
    if media_type == APPLY_PATCH:
        raise unsupported_media_type(
            (),
            "server-side apply is not supported by this server: apply on the client "
            "(kubectl apply without --server-side), or send " + ", ".join(PATCHES),
        )
    raise unsupported_media_type(tuple(PATCHES))


def _parts(clause: str) -> tuple[str, dict[str, str]]:
    media_type, *rest = clause.split(";")
    parameters = (part.partition("=") for part in rest)
    return media_type.strip().lower(), {
        name.strip(): value.strip().strip('"') for name, _, value in parameters
    }
