"""What is valid of role bindings, and of a change of one (apis/rbac/validation/validation.go)."""

from __future__ import annotations

from schemas.findings import Findings, invalid, not_among
from schemas.objects import Object

_SUBJECTS = ("Group", "ServiceAccount", "User")


def role_binding_findings(binding: Object) -> Findings:
    """Find what is wrong with a RoleBinding."""
    yield from _binding_findings(binding, ("ClusterRole", "Role"))


def cluster_role_binding_findings(binding: Object) -> Findings:
    """Find what is wrong with a ClusterRoleBinding: a Role of some namespace is none for all."""
    yield from _binding_findings(binding, ("ClusterRole",))


def binding_update_findings(old: Object, new: Object) -> Findings:
    """Find a role that was exchanged for another: who is bound may change, to what may not."""
    if old["roleRef"] != new["roleRef"]:
        yield invalid("roleRef", new["roleRef"], "cannot change roleRef")


def _binding_findings(binding: Object, kinds: tuple[str, ...]) -> Findings:
    role = binding["roleRef"]
    yield from not_among("roleRef.apiGroup", role.get("apiGroup"), ("rbac.authorization.k8s.io",))
    yield from not_among("roleRef.kind", role.get("kind"), kinds)
    for index, subject in enumerate(binding.get("subjects") or ()):
        yield from not_among(f"subjects[{index}].kind", subject.get("kind"), _SUBJECTS)
