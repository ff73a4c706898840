"""What PodDisruptionBudgets must look like (pkg/apis/policy/validation/validation.go)."""

from __future__ import annotations

from schemas.findings import Findings, invalid, negative, not_among
from schemas.metadata_rules import selector_findings
from schemas.objects import Object
from schemas.workload_rules import share_findings

ALWAYS_ALLOW = "AlwaysAllow"
IF_HEALTHY_BUDGET = "IfHealthyBudget"
_LIMITS = ("minAvailable", "maxUnavailable")
_COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


def budget_findings(obj: Object) -> Findings:
    """Find what is wrong with a PodDisruptionBudget (ValidatePodDisruptionBudget, and of its status).

    One without a limit is valid, as in Kubernetes: it lets no pod be evicted (`budget_warnings`).
    """
    spec, status = obj["spec"], obj.get("status", {})
    if all(limit in spec for limit in _LIMITS):
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for limit in _LIMITS:
        if limit in spec:
            yield from share_findings(spec[limit], f"spec.{limit}")
    yield from not_among(
        "spec.unhealthyPodEvictionPolicy",
        spec.get("unhealthyPodEvictionPolicy"),
        (ALWAYS_ALLOW, IF_HEALTHY_BUDGET),
    )
    if "selector" in spec:
        yield from selector_findings(spec["selector"], "spec.selector")
    for count in _COUNTS:
        yield from negative(f"status.{count}", status.get(count))


def budget_warnings(spec: Object) -> list[str]:
    """Return what the author of a valid budget may not have meant."""
    if not any(limit in spec for limit in _LIMITS):
        return [
            "spec: neither minAvailable nor maxUnavailable is set, so no pod that it selects can be evicted"
        ]
    if "selector" not in spec:
        return ["spec.selector: is not set, so the budget selects no pods; {} selects all of the namespace"]
    return []
