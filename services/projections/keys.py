"""Names of the projections' keys: an interface for programs in any language (docs/projections.md).

`{cluster}:views` says which generation is current and how far it is; all else of a generation carries its number, so
that a rebuild fills a new one beside the one that is read, and one write switches over. The constants and the
functions below `in_generation` are names inside a generation.
"""

from __future__ import annotations

from schemas.objects import Key, split_key

FORMAT = "1"
"""Version of this layout. Readers refuse another; a projector that finds another builds anew."""
Generation = str

RESOURCES = "resources"
"""Set: the resources of which there were objects: `core/pods`."""
PARKED = "parked"
"""Hash: object key -> JSON of the event that could not be projected and its error."""


def views_key(cluster: str) -> str:
    """Return the hash with the current generation's checkpoint, and `last`, the newest generation's number."""
    return f"{{{cluster}}}:views"


def generations_key(cluster: str) -> str:
    """Return the set of the generations that have keys: the current one, those being built, and remains."""
    return f"{{{cluster}}}:views:generations"


def building_key(cluster: str, generation: Generation) -> str:
    """Return the hash of a generation that is being built, with the fields of `views_key`; it expires if abandoned."""
    return f"{{{cluster}}}:views:{generation}:building"


def in_generation(cluster: str, generation: Generation, name: str) -> str:
    """Return the Redis key of a name inside a generation."""
    return f"{{{cluster}}}:views:{generation}:{name}"


def objects(resource: str) -> str:
    """Hash: `<namespace>/<name>`, or `<name>` of a kind without namespaces -> JSON of the object."""
    return f"objects:{resource}"


def field_of(key: Key) -> str:
    """Return the field of an object in the hash of its resource."""
    _, namespace, name = split_key(key)
    return f"{namespace}/{name}" if namespace else name


def pods_on(node: str) -> str:
    """Set: fields (of `objects:core/pods`) of the pods bound to a node; `unscheduled` for those bound to none."""
    return f"pods-on:{node}" if node else "unscheduled"


def owned_by(uid: str) -> str:
    """Set: keys of the objects that have an owner reference to `uid`."""
    return f"owned-by:{uid}"


def revisions(owner_uid: str) -> str:
    """Hash: name -> JSON of every ControllerRevision that the owner ever had, deleted ones too."""
    return f"revisions:{owner_uid}"


def revision_numbers(owner_uid: str) -> str:
    """Hash: number -> name of the ControllerRevision that had it last; numbers given up are kept."""
    return f"revision-numbers:{owner_uid}"


def rollout(key: Key) -> str:
    """Hash: how far the rollout of a StatefulSet or DaemonSet is (services.projections.rollouts)."""
    return f"rollout:{key}"


def changes(key: Key) -> str:
    """List: JSON of the last changes of an object, newest first; for a while after its deletion too."""
    return f"changes:{key}"
