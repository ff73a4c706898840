"""What a decision reads. The projections answer it for a writer, a State for a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from events.commit import Reader
from schemas.errors import NotFound
from schemas.kinds import BY_RESOURCE
from schemas.objects import Key, Object, split_key


class Sources(Reader, Protocol):
    """Objects, the revisions that history has truncated, and the clear text of Secrets."""

    def kept_revisions(self, uid: str) -> Sequence[Object]:
        """Return every ControllerRevision that the workload `uid` ever had, by number; truncated ones too."""

    def kept_revision(self, uid: str, number: int) -> Object | None:
        """Return the revision of the workload `uid` that last had this number, whatever became of it."""

    def unseal(self, obj: Object) -> Object:
        """Return a Secret in the clear where its key is at hand; else, and for other kinds, `obj`."""


def subject_of(key: Key) -> str:
    """Return how Kubernetes names an object in a message: `statefulsets.apps "db"`."""
    resource, _, name = split_key(key)
    kind = BY_RESOURCE[resource]
    return f'{kind.plural}.{kind.group} "{name}"' if kind.group else f'{kind.plural} "{name}"'


def existing(sources: Reader, key: Key) -> Object:
    """Return the object under `key`. Raises NotFound, which names the namespace looked in."""
    found = sources.get(key)
    if found is None:
        namespace = split_key(key)[1]
        where = f" in namespace {namespace}" if namespace else ""
        raise NotFound(f"{subject_of(key)} not found{where}", key)
    return found
