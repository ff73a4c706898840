"""Discovery: which groups, versions, kinds and verbs the API has, in each of the forms that clients ask for.

Values made of the tables in schemas.kinds, as JSON. Legacy discovery is a document for each group-version
(metav1.APIResourceList), the aggregated one has everything in two answers (apidiscovery.k8s.io, v2 and v2beta1); the
client says in `Accept` what it understands.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from schemas.kinds import SERVED, SUBRESOURCES, Kind
from schemas.patching import Json
from services.api.negotiation import JSON

KUBERNETES = "1.36"
GIT_VERSION = f"v{KUBERNETES}.0+chronoset"
AGGREGATED = {
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList": version
    for version in ("v2", "v2beta1")
}
"""The media types of the aggregated forms, and the version of each."""

GroupVersion = tuple[str, str]
"""(`apps`, `v1`); the core group is empty."""


def version_info() -> Json:
    """Return what `/version` answers (version.Info): the release of Kubernetes whose rules are followed."""
    major, minor = KUBERNETES.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


def media_type_of(accept: str) -> str:
    """Return the media type in which to answer `/api` and `/apis` to an Accept header: the first known one in it.

    That is a key of `AGGREGATED`, or plain JSON for the legacy form.
    """
    for offered in accept.split(","):
        words = {word.strip() for word in offered.split(";")}
        for media_type in AGGREGATED:
            if words >= set(media_type.split(";")):
                return media_type
        if JSON in words and not any(word.startswith(("g=", "as=")) for word in words):
            return JSON
    return JSON


@cache
def group_versions() -> tuple[GroupVersion, ...]:
    """Return what is served, the core group first; of several versions of a group the preferred one first."""
    found = dict.fromkeys((kind.group, kind.version) for kind in SERVED)
    groups = list(dict.fromkeys(group for group, _ in found))
    return tuple(sorted(found, key=lambda pair: (bool(pair[0]), groups.index(pair[0]))))


def kinds_of(group: str, version: str) -> tuple[Kind, ...]:
    """Return the kinds of a group-version, by plural; none where it is not served."""
    found = (kind for kind in SERVED if (kind.group, kind.version) == (group, version))
    return tuple(sorted(found, key=lambda kind: kind.plural))


def path_of(group: str, version: str) -> str:
    """Return `/api/v1` or `/apis/apps/v1`."""
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def core_versions(address: str) -> Json:
    """Return what `/api` answers in the legacy form (metav1.APIVersions); `address` is this server's `host:port`."""
    by_client = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": _versions(""), "serverAddressByClientCIDRs": by_client}


@cache
def group_list() -> Json:
    """Return what `/apis` answers in the legacy form (metav1.APIGroupList)."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in _groups()]}


def group_of(name: str) -> Json | None:
    """Return what `/apis/<group>` answers (metav1.APIGroup); None where there is no such group."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)} if name in _groups() else None


@cache
def resource_list(group: str, version: str) -> Json | None:
    """Return what `/apis/<group>/<version>` answers (metav1.APIResourceList); None where it is not served."""
    kinds = kinds_of(group, version)
    if not kinds:
        return None
    spoken = f"{group}/{version}" if group else version
    resources = [resource for kind in kinds for resource in _resources(kind)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": spoken, "resources": resources}


@cache
def aggregated(root: str, media_type: str) -> Json:
    """Return what `/api` and `/apis` (`root`) answer in an aggregated form (apidiscovery.k8s.io APIGroupDiscoveryList).

    `media_type` is a key of `AGGREGATED`, and the Content-Type of the answer.
    """
    groups = [""] if root == "/api" else _groups()
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{AGGREGATED[media_type]}",
        "metadata": {},
        "items": [_group_discovery(group) for group in groups],
    }


def _groups() -> list[str]:
    return list(dict.fromkeys(group for group, _ in group_versions() if group))


def _versions(group: str) -> list[str]:
    return [version for name, version in group_versions() if name == group]


def _group(name: str) -> Json:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in _versions(name)]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resources(kind: Kind) -> Iterable[Json]:
    yield {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
        **({"shortNames": list(kind.short_names)} if kind.short_names else {}),
        **({"categories": list(kind.categories)} if kind.categories else {}),
    }
    for name in sorted(kind.subresources):
        part = SUBRESOURCES[name]
        foreign = bool(part.kind) and (part.group, part.version) != (kind.group, kind.version)
        yield {
            "name": f"{kind.plural}/{name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            **({"group": part.group, "version": part.version} if foreign else {}),
            "kind": part.kind or kind.kind,
            "verbs": list(part.verbs),
        }


def _group_discovery(group: str) -> Json:
    versions = [
        {
            "version": version,
            "resources": [_resource_discovery(kind) for kind in kinds_of(group, version)],
            "freshness": "Current",
        }
        for version in _versions(group)
    ]
    return {"metadata": {"name": group} if group else {}, "versions": versions}


def _resource_discovery(kind: Kind) -> Json:
    subresources = [_subresource_discovery(kind, name) for name in sorted(kind.subresources)]
    return {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
        **({"shortNames": list(kind.short_names)} if kind.short_names else {}),
        **({"categories": list(kind.categories)} if kind.categories else {}),
        **({"subresources": subresources} if subresources else {}),
    }


def _subresource_discovery(kind: Kind, name: str) -> Json:
    part = SUBRESOURCES[name]
    of = part if part.kind else kind
    return {
        "subresource": name,
        "responseKind": {"group": of.group, "version": of.version, "kind": of.kind},
        "verbs": list(part.verbs),
    }
