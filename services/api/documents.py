"""The paths that describe the API: versions, groups, resources, OpenAPI, and whether it is well."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response

from schemas.patching import Json
from services.api.discovery import (
    AGGREGATED,
    aggregated,
    core_versions,
    group_list,
    group_of,
    group_versions,
    media_type_of,
    path_of,
    resource_list,
    version_info,
)
from services.api.failures import no_such_path
from services.api.negotiation import JSON
from services.api.openapi import Document, document_v2, document_v3, index_v3, v2_media_type
from services.api.requests import User
from services.api.seams import Handler


async def version(_request: Request, _user: User) -> Response:
    return _json(version_info())


async def root(_request: Request, _user: User) -> Response:
    """What there is besides objects (apiserver/pkg/server/routes Index)."""
    groups = [path_of(group, version) for group, version in group_versions()]
    documents = [path for path in DOCUMENTS if "{" not in path and path != "/"]
    found = {
        *groups,
        *(path.rpartition("/")[0] for path in groups if path.count("/") == 3),
        *documents,
        *HEALTH,
    }
    return _json({"paths": sorted(found)})


async def api(request: Request, _user: User) -> Response:
    media_type = media_type_of(request.headers.get("accept", ""))
    if media_type in AGGREGATED:
        return _aggregated("/api", media_type)
    return _json(core_versions(request.headers.get("host", "")))


async def apis(request: Request, _user: User) -> Response:
    media_type = media_type_of(request.headers.get("accept", ""))
    return _aggregated("/apis", media_type) if media_type in AGGREGATED else _json(group_list())


async def core_resources(_request: Request, _user: User) -> Response:
    return _found(resource_list("", "v1"))


async def group(request: Request, _user: User) -> Response:
    return _found(group_of(request.path_params["group"]))


async def resources(request: Request, _user: User) -> Response:
    return _found(resource_list(request.path_params["group"], request.path_params["version"]))


async def openapi_index(request: Request, _user: User) -> Response:
    return _document(index_v3(), request)


async def openapi_core(request: Request, _user: User) -> Response:
    return _document(document_v3("", "v1"), request)


async def openapi_group(request: Request, _user: User) -> Response:
    return _document(document_v3(request.path_params["group"], request.path_params["version"]), request)


async def openapi_v2(request: Request, _user: User) -> Response:
    media_type = v2_media_type(request.headers.get("accept", ""))
    return _document(document_v2(media_type), request, media_type)


HEALTH = ("/healthz", "/livez", "/readyz")
DOCUMENTS: Mapping[str, Handler] = {
    "/": root,
    "/version": version,
    "/api": api,
    "/apis": apis,
    "/api/v1": core_resources,
    "/apis/{group}": group,
    "/apis/{group}/{version}": resources,
    "/openapi/v3": openapi_index,
    "/openapi/v3/api/v1": openapi_core,
    "/openapi/v3/apis/{group}/{version}": openapi_group,
    "/openapi/v2": openapi_v2,
}


def _json(value: Json, media_type: str = JSON) -> Response:
    return Response(orjson.dumps(value), media_type=media_type)


def _found(value: Json | None) -> Response:
    if value is None:
        raise no_such_path()
    return _json(value)


def _aggregated(root: str, media_type: str) -> Response:
    return _json(aggregated(root, media_type), media_type)


def _document(document: Document | None, request: Request, media_type: str = JSON) -> Response:
    if document is None:
        raise no_such_path()
    headers = {"ETag": document.etag, "Vary": "Accept", "Cache-Control": "no-cache, private"}
    if request.headers.get("if-none-match") == document.etag:
        return Response(status_code=304, headers=headers)
    return Response(document.body, media_type=media_type, headers=headers)
