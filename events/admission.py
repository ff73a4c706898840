"""What a commit adds to every new pod, whoever makes it: a person, a client, a controller. Pure.

In the commit and nowhere else, because a StatefulSet's pods pass by admission like everybody's, and because what is
added depends on other objects (plugin/pkg/admission/{serviceaccount,priority,defaulttolerationseconds}), and its first
status on what was added (registry/core/pod/strategy.go, PrepareForCreate).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from schemas.errors import Forbidden
from schemas.kinds import PRIORITY_CLASS, SERVICE_ACCOUNT
from schemas.objects import Key, Object, key_of, name_of, namespace_of
from schemas.qos import qos_class_of
from schemas.taints import NOT_READY, UNREACHABLE

DEFAULT_ACCOUNT = "default"
TOLERATED_SECONDS = 300
"""How long a pod that says nothing of it stays on a node that is not Ready, or not heard of."""
NO_PRIORITY = 0
PREEMPTS = "PreemptLowerPriority"
PENDING = "Pending"
GATED: Object = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


def admitted_pod(
    pod: Object, get: Callable[[Key], Object | None], list_: Callable[[str], Sequence[Object]]
) -> Object:
    """Return a new pod with its service account, its priority, its tolerations of nodes in trouble, and the first of
    its status: Pending, its class of service, and whether gates keep it from the scheduler.

    `get` and `list_` read what is there. Raises Forbidden where the account or the priority class is not there, or
    another priority was written than that of its class. The account `default` of a namespace need not be there yet:
    nothing of it goes into the pod, and its controller is about to make it (ours).
    """
    spec = _with_account(pod, get)
    spec = _with_priority({**pod, "spec": spec}, get, list_)
    return {
        **pod,
        "spec": _with_tolerations(spec),
        "status": {**_first_status(spec), **pod.get("status", {})},
    }


def global_default(classes: Iterable[Object]) -> Object | None:
    """Return the priority class of pods that name none: the lowest that is marked as such (getDefaultPriorityClass)."""
    marked = (each for each in classes if each.get("globalDefault"))
    return min(marked, key=lambda each: (int(each["value"]), name_of(each)), default=None)


def _first_status(spec: Object) -> Object:
    status: Object = {"phase": PENDING, "qosClass": qos_class_of(spec)}
    if not spec.get("schedulingGates"):
        return status
    return {**status, "conditions": [GATED]}


def _with_account(pod: Object, get: Callable[[Key], Object | None]) -> Object:
    spec: Object = pod["spec"]
    name = spec.get("serviceAccountName") or DEFAULT_ACCOUNT
    namespace = namespace_of(pod)
    account = get(key_of(SERVICE_ACCOUNT.resource, namespace, name))
    if account is None and name != DEFAULT_ACCOUNT:
        raise _forbidden(
            pod, f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        )
    given = {"serviceAccountName": name, "serviceAccount": name}
    secrets = (account or {}).get("imagePullSecrets")
    if secrets and not spec.get("imagePullSecrets"):
        given["imagePullSecrets"] = secrets
    return {**spec, **given}


def _with_priority(
    pod: Object, get: Callable[[Key], Object | None], list_: Callable[[str], Sequence[Object]]
) -> Object:
    spec: Object = pod["spec"]
    name = spec.get("priorityClassName") or ""
    if name:
        found = get(key_of(PRIORITY_CLASS.resource, "", name))
        if found is None:
            raise _forbidden(pod, f"no PriorityClass with name {name} was found")
    else:
        found = global_default(list_(PRIORITY_CLASS.resource))
    priority = int(found["value"]) if found else NO_PRIORITY
    policy = (found or {}).get("preemptionPolicy", PREEMPTS)
    if spec.get("priority", priority) != priority:
        raise _forbidden(
            pod,
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
            f"controller computed {priority} from the given PriorityClass name",
        )
    if spec.get("preemptionPolicy", policy) != policy:
        raise _forbidden(
            pod,
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name",
        )
    named = {"priorityClassName": name_of(found)} if found else {}
    return {**spec, **named, "priority": priority, "preemptionPolicy": policy}


def _with_tolerations(spec: Object) -> Object:
    present: list[Object] = list(spec.get("tolerations") or ())
    added = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_SECONDS}
        for key in (NOT_READY, UNREACHABLE)
        if not any(_concerns(each, key) for each in present)
    ]
    return {**spec, "tolerations": [*present, *added]} if added else spec


def _concerns(toleration: Object, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


def _forbidden(pod: Object, why: str) -> Forbidden:
    return Forbidden(f'pods "{name_of(pod)}" is forbidden: {why}')
