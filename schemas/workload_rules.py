"""What StatefulSets, DaemonSets and ControllerRevisions must look like (pkg/apis/apps/validation/validation.go)."""

from __future__ import annotations

from typing import Any

from schemas.findings import (
    Findings,
    forbidden,
    immutable,
    invalid,
    named_badly,
    negative,
    not_among,
    not_supported,
    repeated,
    required,
)
from schemas.metadata_rules import selector_findings
from schemas.names import dns_subdomain_problems
from schemas.objects import Object
from schemas.percentages import is_percent, parse_int_or_percent
from schemas.pod_rules import template_findings
from schemas.selectors import selector_of

Part = dict[str, Any]

STATEFUL_SET_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_STATEFUL_SET_SENTENCE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


MOST_REPLICAS = 100_000
"""Of one StatefulSet. Ours: a look at a set holds a place for each, so that a typo must not take all memory."""


def stateful_set_findings(obj: Object) -> Findings:
    """Find what is wrong with a StatefulSet (ValidateStatefulSet). A partition beyond the replicas is right."""
    spec = obj["spec"]
    policies = ("OrderedReady", "Parallel")
    if spec["podManagementPolicy"] not in policies:
        yield invalid(
            "spec.podManagementPolicy", spec["podManagementPolicy"], "must be 'OrderedReady' or 'Parallel'"
        )
    yield from _stateful_strategy_findings(spec["updateStrategy"])
    for field in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        yield from negative(f"spec.{field}", spec.get(field))
    if spec.get("replicas", 0) > MOST_REPLICAS:
        yield invalid("spec.replicas", spec["replicas"], f"must be less than or equal to {MOST_REPLICAS}")
    yield from negative("spec.ordinals.start", spec.get("ordinals", {}).get("start"))
    for field, value in spec["persistentVolumeClaimRetentionPolicy"].items():
        yield from not_among(
            f"spec.persistentVolumeClaimRetentionPolicy.{field}", value, ("Delete", "Retain")
        )
    if "serviceName" in spec:
        yield from named_badly("spec.serviceName", spec["serviceName"], dns_subdomain_problems)
    yield from _selector_and_template_findings(spec, "empty selector is invalid for statefulset")
    claims = spec.get("volumeClaimTemplates", [])
    yield from _claim_template_findings(claims)
    names = tuple(claim.get("metadata", {}).get("name", "") for claim in claims)
    yield from template_findings(spec["template"], "spec.template", names)
    yield from _long_running_findings(spec["template"]["spec"])


def _stateful_strategy_findings(strategy: Part) -> Findings:
    rolling, where = strategy.get("rollingUpdate"), "spec.updateStrategy"
    if strategy["type"] not in ("RollingUpdate", "OnDelete"):
        yield invalid(where, strategy, "must be 'RollingUpdate' or 'OnDelete'")
    elif strategy["type"] == "OnDelete" and rolling is not None:
        yield invalid(f"{where}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")
    elif rolling is not None:
        yield from negative(f"{where}.rollingUpdate.partition", rolling.get("partition"))
        if "maxUnavailable" in rolling:
            at = f"{where}.rollingUpdate.maxUnavailable"
            yield from share_findings(rolling["maxUnavailable"], at)
            if _number(rolling["maxUnavailable"]) == 0:
                yield invalid(at, rolling["maxUnavailable"], "cannot be 0")


def _claim_template_findings(claims: list[Part]) -> Findings:
    where = "spec.volumeClaimTemplates"
    names = [(index, claim.get("metadata", {}).get("name", "")) for index, claim in enumerate(claims)]
    yield from repeated(where, names, "metadata.name")
    for index, name in names:
        if name:
            yield from named_badly(f"{where}[{index}].metadata.name", name, dns_subdomain_problems)
        else:
            yield required(f"{where}[{index}].metadata.name")


def daemon_set_findings(obj: Object) -> Findings:
    """Find what is wrong with a DaemonSet (ValidateDaemonSet)."""
    spec = obj["spec"]
    for field in ("minReadySeconds", "revisionHistoryLimit"):
        yield from negative(f"spec.{field}", spec.get(field))
    yield from _selector_and_template_findings(spec, "empty selector is invalid for daemonset")
    yield from template_findings(spec["template"], "spec.template")
    yield from _long_running_findings(spec["template"]["spec"])
    strategy = spec["updateStrategy"]
    if strategy["type"] not in ("RollingUpdate", "OnDelete"):
        yield not_supported("spec.updateStrategy.type", strategy["type"], ("RollingUpdate", "OnDelete"))
    elif strategy["type"] == "RollingUpdate":
        yield from _daemon_budget_findings(strategy["rollingUpdate"], "spec.updateStrategy.rollingUpdate")


def _daemon_budget_findings(rolling: Part, where: str) -> Findings:
    yield from share_findings(rolling["maxUnavailable"], f"{where}.maxUnavailable")
    yield from share_findings(rolling["maxSurge"], f"{where}.maxSurge")
    unavailable, surge = _number(rolling["maxUnavailable"]), _number(rolling["maxSurge"])
    if unavailable and surge:
        yield invalid(
            f"{where}.maxSurge", rolling["maxSurge"], "may not be set when maxUnavailable is non-zero"
        )
    elif not unavailable and not surge:
        yield required(f"{where}.maxUnavailable", "cannot be 0 when maxSurge is 0")


def share_findings(value: int | str, where: str) -> Findings:
    """Find a value that is neither a number from 0 nor a percentage up to 100."""
    if isinstance(value, str) and not is_percent(value):
        yield invalid(where, value, "must be an integer or percentage (e.g '5%')")
    elif isinstance(value, int):
        yield from negative(where, value)
    elif _number(value) > 100:
        yield invalid(where, value, "must not be greater than 100%")


def _number(value: int | str) -> int:
    return parse_int_or_percent(value)[0] if isinstance(value, int) or is_percent(value) else -1


def _selector_and_template_findings(spec: Part, empty: str) -> Findings:
    selector = spec["selector"]
    yield from selector_findings(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid("spec.selector", selector, empty)
        return
    labels = spec["template"].get("metadata", {}).get("labels", {})
    if not any(selector_findings(selector, "")) and not selector_of(selector).matches(labels):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


def _long_running_findings(spec: Part) -> Findings:
    where = "spec.template.spec"
    if spec["restartPolicy"] != "Always":
        yield not_supported(f"{where}.restartPolicy", spec["restartPolicy"], ("Always",))
    if "activeDeadlineSeconds" in spec:
        yield forbidden(
            f"{where}.activeDeadlineSeconds", "activeDeadlineSeconds in a workload is not Supported"
        )


def stateful_set_update_findings(old: Object, new: Object) -> Findings:
    """Find changes of a StatefulSet's spec outside the seven fields that may change."""
    fixed = [
        {name: value for name, value in o["spec"].items() if name not in STATEFUL_SET_MUTABLE}
        for o in (old, new)
    ]
    if fixed[0] != fixed[1]:
        yield forbidden("spec", _STATEFUL_SET_SENTENCE)


def daemon_set_update_findings(old: Object, new: Object) -> Findings:
    """Find a change of a DaemonSet's selector."""
    yield from immutable("spec.selector", old["spec"]["selector"], new["spec"]["selector"])


def revision_findings(obj: Object) -> Findings:
    """Find what is wrong with a ControllerRevision."""
    if "data" not in obj:
        yield required("data", "data is mandatory")
    yield from negative("revision", obj["revision"])


def revision_update_findings(old: Object, new: Object) -> Findings:
    """Find a change of a ControllerRevision's data; everything else of it may change."""
    yield from immutable("data", old.get("data"), new.get("data"))
