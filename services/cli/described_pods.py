"""Containers and volumes, of a pod or of a template, as `describe` tells them. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from schemas.objects import Object
from schemas.times import Milliseconds
from services.cli.paragraphs import Fields, fields_of, moment, pairs, words

_PROBES = (("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe"))
_SOURCES = {
    "configMap": "name",
    "secret": "secretName",
    "persistentVolumeClaim": "claimName",
    "hostPath": "path",
}
"""Sources of volumes, and the field that names what they show."""


def container_lines(containers: Sequence[Object], statuses: Sequence[Object], now: Milliseconds) -> list[str]:
    """Return the lines about containers; their states where they have been reported."""
    reported = {each["name"]: each for each in statuses}
    lines: list[str] = []
    for container in containers:
        about = [*_what(container), *_how(reported.get(container["name"]), now), *_with(container)]
        lines += [f"{container['name']}:", *(f"  {line}" for line in fields_of(about))]
    return lines


def volume_lines(volumes: Sequence[Object]) -> list[str]:
    """Return a line a volume: its name, and where its files come from."""
    return fields_of([(volume["name"], _source(volume)) for volume in volumes])


def claims_of_pod(pod: Object) -> list[str]:
    """Return the names of the claims that a pod uses."""
    volumes = pod["spec"].get("volumes") or ()
    return [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]


def _what(container: Object) -> Fields:
    ports = [
        f"{each['containerPort']}/{each.get('protocol', 'TCP')}" for each in container.get("ports") or ()
    ]
    return [
        ("Image", container.get("image", "")),
        ("Command", shlex.join(container.get("command") or ())),
        ("Args", shlex.join(container.get("args") or ())),
        ("Ports", ", ".join(ports)),
    ]


def _how(status: Object | None, now: Milliseconds) -> Fields:
    if status is None:
        return []
    return [
        ("Image ID", status.get("imageID", "")),
        ("State", _state(status.get("state") or {}, now)),
        ("Last State", _state(status.get("lastState") or {}, now)),
        ("Ready", str(bool(status.get("ready")))),
        ("Restarts", str(status.get("restartCount", 0))),
    ]


def _with(container: Object) -> Fields:
    resources = container.get("resources") or {}
    return [
        ("Requests", ", ".join(pairs(resources.get("requests") or {}, " "))),
        ("Limits", ", ".join(pairs(resources.get("limits") or {}, " "))),
        *((name, _probe(container[field])) for name, field in _PROBES if container.get(field)),
        ("Environment", [_variable(each) for each in container.get("env") or ()] + _imported(container)),
        ("Mounts", [_mount(each) for each in container.get("volumeMounts") or ()]),
    ]


def _state(state: Object, now: Milliseconds) -> str:
    if "running" in state:
        since = moment((state["running"] or {}).get("startedAt", ""), now)
        return words("running", since and f"since {since}")
    if waiting := state.get("waiting"):
        return words("waiting:", waiting.get("reason", ""), waiting.get("message", ""))
    if ended := state.get("terminated"):
        code = f"signal {ended['signal']}" if ended.get("signal") else f"exit code {ended.get('exitCode', 0)}"
        at = moment(ended.get("finishedAt", ""), now)
        return words(
            "ended:", ended.get("reason", ""), f"({code})", ended.get("message", ""), at and f"at {at}"
        )
    return ""


def _probe(probe: Object) -> str:
    numbers = {
        "delay": probe.get("initialDelaySeconds", 0),
        "timeout": probe.get("timeoutSeconds", 1),
        "period": probe.get("periodSeconds", 10),
    }
    thresholds = f"success {probe.get('successThreshold', 1)}, failure {probe.get('failureThreshold', 3)}"
    return (
        f"{_asked(probe)}; {', '.join(f'{name} {value} s' for name, value in numbers.items())}, {thresholds}"
    )


def _asked(probe: Object) -> str:
    if http := probe.get("httpGet"):
        scheme, place = str(http.get("scheme", "HTTP")).lower(), f"{http.get('host', '')}:{http['port']}"
        return f"{scheme}://{place}{http.get('path', '/')}"
    if tcp := probe.get("tcpSocket"):
        return f"tcp {tcp.get('host', '')}:{tcp['port']}"
    if grpc := probe.get("grpc"):
        return f"grpc :{grpc['port']} {grpc.get('service', '')}".rstrip()
    return f"exec {shlex.join((probe.get('exec') or {}).get('command') or ())}"


def _variable(variable: Object) -> str:
    source: dict[str, Any] = variable.get("valueFrom") or {}
    if not source:
        return f"{variable['name']}={variable.get('value', '')}"
    kind, where = next(iter(source.items()))
    place = (
        where.get("fieldPath") or where.get("resource") or f"{where.get('name', '')}.{where.get('key', '')}"
    )
    return f"{variable['name']} from {kind.removesuffix('Ref').removesuffix('Key')} {place}"


def _imported(container: Object) -> list[str]:
    return [
        f"all of {kind.removesuffix('Ref')} {each[kind].get('name', '')}"
        for each in container.get("envFrom") or ()
        for kind in ("configMapRef", "secretRef")
        if kind in each
    ]


def _mount(mount: Object) -> str:
    inside = f"{mount['name']}/{mount['subPath']}" if mount.get("subPath") else mount["name"]
    return f"{mount['mountPath']} from {inside}" + (" (read only)" if mount.get("readOnly") else "")


def _source(volume: Object) -> str:
    kind = next((name for name in volume if name != "name"), "emptyDir")
    named = (volume.get(kind) or {}).get(_SOURCES.get(kind, ""), "")
    return words(kind, str(named))
