"""What a pod, and the template of one, must look like (pkg/apis/core/validation/validation.go).

Expects the canonical form: the right types, and defaults applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.findings import (
    Findings,
    duplicate,
    forbidden,
    invalid,
    named_badly,
    negative,
    not_among,
    not_found,
    not_supported,
    repeated,
    required,
)
from schemas.metadata_rules import annotation_findings, expression_findings, label_findings
from schemas.names import dns_label_problems, dns_subdomain_problems, env_name_problems, port_name_problems
from schemas.objects import Object
from schemas.quantities import parse_quantity
from schemas.storage_rules import host_path_findings

Part = dict[str, Any]

_FIELD_PATHS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_ENV_SOURCES = ("configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_UPDATABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def template_findings(template: Part, where: str, claims: tuple[str, ...] = ()) -> Findings:
    """Find what is wrong with a pod template; `claims` are volumes that claim templates will provide."""
    metadata = template.get("metadata", {})
    yield from label_findings(metadata.get("labels", {}), f"{where}.metadata.labels")
    yield from annotation_findings(metadata.get("annotations", {}), f"{where}.metadata.annotations")
    yield from pod_spec_findings(template.get("spec", {}), f"{where}.spec", claims)


def pod_spec_findings(spec: Part, where: str, claims: tuple[str, ...] = ()) -> Findings:
    """Find what is wrong with a pod's spec (ValidatePodSpec)."""
    yield from _volume_findings(spec.get("volumes", []), f"{where}.volumes")
    volumes = {volume["name"] for volume in spec.get("volumes", ())} | set(claims)
    yield from _containers_findings(spec, where, volumes)
    yield from not_among(
        f"{where}.restartPolicy", spec.get("restartPolicy"), ("Always", "OnFailure", "Never")
    )
    yield from not_among(f"{where}.dnsPolicy", spec.get("dnsPolicy"), _DNS_POLICIES)
    yield from negative(f"{where}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 2**31:
        yield invalid(
            f"{where}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"
        )
    yield from label_findings(spec.get("nodeSelector", {}), f"{where}.nodeSelector")
    for field in ("hostname", "subdomain"):
        if field in spec:
            yield from named_badly(f"{where}.{field}", spec[field], dns_label_problems)
    if "nodeName" in spec:
        yield from named_badly(f"{where}.nodeName", spec["nodeName"], dns_subdomain_problems)
    yield from _node_affinity_findings(
        spec.get("affinity", {}).get("nodeAffinity", {}), f"{where}.affinity.nodeAffinity"
    )
    for index, toleration in enumerate(spec.get("tolerations", ())):
        yield from _toleration_findings(toleration, f"{where}.tolerations[{index}]")


def _containers_findings(spec: Part, where: str, volumes: set[str]) -> Findings:
    if not spec.get("containers"):
        yield required(f"{where}.containers")
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field, ())):
            at = f"{where}.{field}[{index}]"
            if container["name"] in names:
                yield duplicate(f"{at}.name", container["name"])
            names.add(container["name"])
            yield from _container_findings(container, at, volumes)
            if spec.get("hostNetwork"):
                yield from _host_network_findings(container.get("ports", ()), f"{at}.ports")
    yield from _host_port_findings(spec.get("containers", ()), where)


def _container_findings(container: Part, where: str, volumes: set[str]) -> Findings:
    yield from named_badly(f"{where}.name", container["name"], dns_label_problems)
    image = container.get("image", "")
    if not image:
        yield required(f"{where}.image")
    elif image != image.strip():
        yield invalid(f"{where}.image", image, "must not have leading or trailing whitespace")
    yield from not_among(
        f"{where}.imagePullPolicy", container.get("imagePullPolicy"), ("Always", "IfNotPresent", "Never")
    )
    policies = ("File", "FallbackToLogsOnError")
    yield from not_among(
        f"{where}.terminationMessagePolicy", container.get("terminationMessagePolicy"), policies
    )
    yield from _port_findings(container.get("ports", []), f"{where}.ports")
    for index, variable in enumerate(container.get("env", ())):
        yield from _env_findings(variable, f"{where}.env[{index}]")
    yield from _mount_findings(container.get("volumeMounts", []), f"{where}.volumeMounts", volumes)
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if field in container:
            yield from _probe_findings(container[field], f"{where}.{field}", once=field != "readinessProbe")
    for hook, handler in container.get("lifecycle", {}).items():
        if isinstance(handler, dict):
            yield from _handler_findings(
                handler, f"{where}.lifecycle.{hook}", ("exec", "httpGet", "sleep", "tcpSocket")
            )
    yield from _resource_findings(container.get("resources", {}), f"{where}.resources")


def _port_findings(ports: list[Part], where: str) -> Findings:
    yield from repeated(where, ((i, port["name"]) for i, port in enumerate(ports) if "name" in port), "name")
    for index, port in enumerate(ports):
        at = f"{where}[{index}]"
        if "name" in port:
            yield from named_badly(f"{at}.name", port["name"], port_name_problems)
        yield from port_number_findings(port["containerPort"], f"{at}.containerPort")
        if "hostPort" in port:
            yield from port_number_findings(port["hostPort"], f"{at}.hostPort")
        yield from not_among(f"{at}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))


def port_number_findings(port: int, where: str) -> Findings:
    """Find a port number that is none."""
    if not 1 <= port <= 65535:
        yield invalid(where, port, "must be between 1 and 65535, inclusive")


def _host_network_findings(ports: Any, where: str) -> Findings:
    for index, port in enumerate(ports):
        if port.get("hostPort", port["containerPort"]) != port["containerPort"]:
            at = f"{where}[{index}].containerPort"
            yield invalid(at, port["containerPort"], "must match `hostPort` when `hostNetwork` is true")


def _host_port_findings(containers: Any, where: str) -> Findings:
    seen: set[tuple[str, str, int]] = set()
    for number, container in enumerate(containers):
        for index, port in enumerate(container.get("ports", ())):
            taken = (port.get("protocol", "TCP"), port.get("hostIP", ""), port.get("hostPort", 0))
            if taken[2] and taken in seen:
                yield duplicate(f"{where}.containers[{number}].ports[{index}].hostPort", taken[2])
            seen.add(taken)


def _env_findings(variable: Part, where: str) -> Findings:
    if not variable["name"]:
        yield required(f"{where}.name")
    else:
        yield from named_badly(f"{where}.name", variable["name"], env_name_problems)
    source = variable.get("valueFrom")
    if source is None:
        return
    given = [name for name in _ENV_SOURCES if name in source]
    if variable.get("value"):
        yield invalid(f"{where}.valueFrom", "", "may not be specified when `value` is not empty")
    if not given:
        yield invalid(
            f"{where}.valueFrom", "", f"must specify one of: {', '.join(f'`{n}`' for n in _ENV_SOURCES)}"
        )
    elif len(given) > 1:
        yield invalid(f"{where}.valueFrom", "", "may not have more than one field specified at a time")
    path = source.get("fieldRef", {}).get("fieldPath", "metadata.name")
    if path not in _FIELD_PATHS and not path.startswith(("metadata.labels['", "metadata.annotations['")):
        yield not_supported(f"{where}.valueFrom.fieldRef.fieldPath", path, _FIELD_PATHS)


def _mount_findings(mounts: list[Part], where: str, volumes: set[str]) -> Findings:
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        at = f"{where}[{index}]"
        if not mount["name"]:
            yield required(f"{at}.name")
        elif mount["name"] not in volumes:
            yield not_found(f"{at}.name", mount["name"])
        if not mount["mountPath"]:
            yield required(f"{at}.mountPath")
        elif mount["mountPath"] in paths:
            yield invalid(f"{at}.mountPath", mount["mountPath"], "must be unique")
        paths.add(mount["mountPath"])
        sub_path = mount.get("subPath", "")
        if sub_path.startswith("/"):
            yield invalid(f"{at}.subPath", sub_path, "must be a relative path")
        if ".." in sub_path.split("/"):
            yield invalid(f"{at}.subPath", sub_path, "must not contain '..'")


def _probe_findings(probe: Part, where: str, once: bool) -> Findings:
    yield from _handler_findings(probe, where, _HANDLERS)
    counts = (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    )
    for field in counts:
        yield from negative(f"{where}.{field}", probe.get(field))
    if once and probe.get("successThreshold", 1) != 1:
        yield invalid(f"{where}.successThreshold", probe["successThreshold"], "must be 1")
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 1:
        yield invalid(f"{where}.terminationGracePeriodSeconds", grace, "must be greater than 0")


def _handler_findings(handler: Part, where: str, handlers: tuple[str, ...]) -> Findings:
    given = [name for name in handlers if name in handler]
    if not given:
        yield required(where, "must specify a handler type")
    for name in given[1:]:
        yield forbidden(f"{where}.{name}", "may not specify more than 1 handler type")
    if "exec" in handler and not handler["exec"].get("command"):
        yield required(f"{where}.exec.command")
    for name in ("httpGet", "tcpSocket", "grpc"):
        port = handler.get(name, {}).get("port", 1)
        if isinstance(port, int):
            yield from port_number_findings(port, f"{where}.{name}.port")
        else:
            yield from named_badly(f"{where}.{name}.port", port, port_name_problems)
    yield from not_among(
        f"{where}.httpGet.scheme", handler.get("httpGet", {}).get("scheme"), ("HTTP", "HTTPS")
    )


def _resource_findings(resources: Part, where: str) -> Findings:
    limits = resources.get("limits", {})
    for field in ("limits", "requests"):
        for name, amount in resources.get(field, {}).items():
            if parse_quantity(amount).nanos < 0:
                yield invalid(f"{where}.{field}.{name}", amount, "must be greater than or equal to 0")
    for name, amount in resources.get("requests", {}).items():
        if name in limits and parse_quantity(amount).nanos > parse_quantity(limits[name]).nanos:
            yield invalid(
                f"{where}.requests", amount, f"must be less than or equal to {name} limit of {limits[name]}"
            )


def _volume_findings(volumes: list[Part], where: str) -> Findings:
    yield from repeated(where, ((index, volume["name"]) for index, volume in enumerate(volumes)), "name")
    for index, volume in enumerate(volumes):
        at = f"{where}[{index}]"
        yield from named_badly(f"{at}.name", volume["name"], dns_label_problems)
        sources = sorted(volume.keys() - {"name"})
        for source in sources[1:]:
            yield forbidden(f"{at}.{source}", "may not specify more than 1 volume type")
        if volume.get("persistentVolumeClaim", {}).get("claimName") == "":
            yield required(f"{at}.persistentVolumeClaim.claimName")
        if "hostPath" in volume:
            yield from host_path_findings(volume["hostPath"], f"{at}.hostPath")


def _node_affinity_findings(affinity: Part, where: str) -> Findings:
    needed = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    terms: list[tuple[str, Part]] = []
    if needed is not None:
        at = f"{where}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        if not needed["nodeSelectorTerms"]:
            yield required(at, "must have at least one node selector term")
        terms += [(f"{at}[{index}]", term) for index, term in enumerate(needed["nodeSelectorTerms"])]
    for index, preferred in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution", ())):
        at = f"{where}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        if not 1 <= preferred["weight"] <= 100:
            yield invalid(f"{at}.weight", preferred["weight"], "must be in the range 1-100")
        terms.append((f"{at}.preference", preferred["preference"]))
    for at, term in terms:
        yield from _node_term_findings(term, at)


def _node_term_findings(term: Part, where: str) -> Findings:
    for index, expression in enumerate(term.get("matchExpressions", ())):
        yield from expression_findings(expression, f"{where}.matchExpressions[{index}]", ("Gt", "Lt"))
    for index, field in enumerate(term.get("matchFields", ())):
        at = f"{where}.matchFields[{index}]"
        if field["key"] != "metadata.name":
            yield invalid(f"{at}.key", field["key"], "not a valid field selector key")
        if field["operator"] not in ("In", "NotIn"):
            yield invalid(f"{at}.operator", field["operator"], "not a valid selector operator")
        elif len(field.get("values", ())) != 1:
            yield required(
                f"{at}.values",
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            )


def _toleration_findings(toleration: Part, where: str) -> Findings:
    operator = toleration.get("operator", "Equal")
    if not toleration.get("key") and operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid(f"{where}.operator", operator, detail)
    yield from not_among(f"{where}.operator", operator, ("Equal", "Exists"))
    if operator == "Exists" and toleration.get("value"):
        yield invalid(
            f"{where}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'"
        )
    yield from not_among(f"{where}.effect", toleration.get("effect"), _EFFECTS)
    if "tolerationSeconds" in toleration and toleration.get("effect") != "NoExecute":
        detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield invalid(f"{where}.effect", toleration.get("effect", ""), detail)


def taint_findings(taints: list[Part], where: str) -> Findings:
    """Find what is wrong with a node's taints: bad keys and effects, a key and effect twice."""
    pairs = ((index, f"{taint['key']}:{taint['effect']}") for index, taint in enumerate(taints))
    yield from repeated(where, pairs)
    for index, taint in enumerate(taints):
        yield from label_findings({taint["key"]: taint.get("value", "")}, f"{where}[{index}].key")
        yield from not_among(f"{where}[{index}].effect", taint["effect"], _EFFECTS)


def pod_update_findings(old: Object, new: Object) -> Findings:
    """Find changes of a pod's spec that are forbidden (ValidatePodUpdate); a node may be given once (binding)."""
    before, after = old.get("spec", {}), new.get("spec", {})
    kept = before.get("tolerations", [])
    if any(toleration not in after.get("tolerations", []) for toleration in kept):
        yield forbidden(
            "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
        )
    was, now = before.get("activeDeadlineSeconds"), after.get("activeDeadlineSeconds")
    if was is not None and (now is None or now > was):
        yield invalid(
            "spec.activeDeadlineSeconds", now, f"must be less than or equal to previous value {was}"
        )
    if _fixed_part(before, before) != _fixed_part(after, before):
        changed = sorted(_changed(_fixed_part(before, before), _fixed_part(after, before)))
        yield forbidden("spec", f"{_UPDATABLE}; changed: {', '.join(changed)}")


def _fixed_part(spec: Part, old: Part) -> Part:
    """Return a spec without what an update of `old` may change."""
    mutable = {"tolerations", "activeDeadlineSeconds"}
    if "nodeName" not in old:
        mutable.add("nodeName")
    if old.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") in (
        1,
        old["terminationGracePeriodSeconds"],
    ):
        mutable.add("terminationGracePeriodSeconds")
    fixed = {name: value for name, value in spec.items() if name not in mutable}
    for field in ("containers", "initContainers"):
        if field in fixed:
            fixed[field] = [{**container, "image": ""} for container in fixed[field]]
    return fixed


def _changed(old: Part, new: Part) -> Iterator[str]:
    return (name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
