"""Which pods and which of their containers a command means, as kubectl understands it."""

from __future__ import annotations

from schemas.errors import BadRequest, NotFound
from schemas.kinds import POD, WORKLOADS
from schemas.objects import Object, labels_of, name_of, uid_of
from schemas.selectors import parse_selector
from services.cli.references import Reference, checked_namespace, parse_one
from services.cli.session import Session
from services.cli.streams import aside
from services.commands.sources import existing

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def pod_named(session: Session, word: str, namespace: str) -> Object:
    """Return the pod that `NAME`, `pod/NAME`, or a workload as `sts/NAME`, means: of several its first.

    Raises NotFound, BadRequest.
    """
    reference = parse_one([word if "/" in word else f"pod/{word}"])
    if reference.kind == POD:
        return existing(session.sources, reference.key(checked_namespace(namespace)))
    if reference.kind in WORKLOADS:
        return _first_pod_of(session, reference, checked_namespace(namespace))
    raise BadRequest(f"POD: {word!r} is no pod; write NAME, pod/NAME, sts/NAME or ds/NAME")


def pods_selected(session: Session, selector: str, namespace: str) -> list[Object]:
    """Return the pods with these labels, by name. Raises BadRequest."""
    wanted = parse_selector(selector)
    pods = session.sources.list(POD.resource, checked_namespace(namespace))
    return sorted((pod for pod in pods if wanted.matches(labels_of(pod))), key=name_of)


def container_names(pod: Object) -> list[str]:
    """Return all containers of a pod in the order of their start."""
    spec = pod["spec"]
    return [each["name"] for each in (*(spec.get("initContainers") or ()), *spec["containers"])]


def container_chosen(pod: Object, name: str, quiet: bool = False) -> str:
    """Return the container that is named, or the one that stands for the pod, of which the user is told.

    Raises BadRequest where the pod has none of that name.
    """
    names = container_names(pod)
    if name:
        if name not in names:
            raise BadRequest(
                f"--container: {name!r} is not in pod {name_of(pod)}; write one of {', '.join(names)}"
            )
        return name
    wish = (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER, "")
    if wish in names:
        return str(wish)
    mains = [str(each["name"]) for each in pod["spec"]["containers"]]
    if len(names) > 1 and not quiet:
        inits = [f"{each} (init)" for each in names if each not in mains]
        aside(f'Defaulted container "{mains[0]}" out of: {", ".join([*mains, *inits])}')
    return mains[0]


def _first_pod_of(session: Session, reference: Reference, namespace: str) -> Object:
    owner = uid_of(existing(session.sources, reference.key(namespace)))
    pods = [
        pod
        for pod in session.sources.list(POD.resource, namespace)
        if any(each["uid"] == owner for each in pod["metadata"].get("ownerReferences") or ())
    ]
    if not pods:
        raise NotFound(f"{reference.kind.plural} {reference.name!r} has no pod now")
    first = min(pods, key=lambda pod: (len(name_of(pod)), name_of(pod)))
    if len(pods) > 1:
        aside(f"Found {len(pods)} pods, using pod/{name_of(first)}")
    return first
