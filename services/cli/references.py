"""What people name on the command line: `sts web`, `sts/web`, `get sts,pods`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import BadRequest
from schemas.kinds import DAEMON_SET, KINDS, NODE, POD, SERVICE, STATEFUL_SET, Kind, kind_named
from schemas.names import dns_label_problems, dns_subdomain_problems
from schemas.objects import Key, key_of

ALL = (STATEFUL_SET, DAEMON_SET, POD, SERVICE)
"""What `all` means, as to kubectl: what runs, and how it is reached."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A kind, and the name of one of its objects; no name: all of them."""

    kind: Kind
    name: str = ""

    def key(self, namespace: str) -> Key:
        """Return the key of the object named, in `namespace` where its kind has namespaces."""
        return key_of(self.kind.resource, namespace if self.kind.namespaced else "", self.name)


def parse_references(words: Sequence[str]) -> list[Reference]:
    """Return what `KIND`, `KIND,KIND`, `all`, `KIND NAME...` or `KIND/NAME...` mean. Raises BadRequest."""
    if not words:
        raise BadRequest(f"KIND: is missing; write one of {_known()}, or KIND/NAME")
    slashed = ["/" in word for word in words]
    if any(slashed):
        if not all(slashed):
            plain = words[slashed.index(False)]
            raise BadRequest(
                f"KIND/NAME: {plain!r} has no kind; write every name as KIND/NAME, or KIND NAME..."
            )
        return [_parse_pair(word) for word in words]
    kinds = [
        kind for word in words[0].split(",") for kind in (ALL if word == "all" else (_parse_kind(word),))
    ]
    names = [_checked_name(name) for name in words[1:]]
    return [Reference(kind, name) for kind in kinds for name in names or ("",)]


def parse_named(words: Sequence[str]) -> list[Reference]:
    """As `parse_references`, but every reference must name an object. Raises BadRequest."""
    references = parse_references(words)
    if any(not reference.name for reference in references):
        raise BadRequest(f"NAME: is missing; write {words[0]} NAME, or {words[0]}/NAME")
    return references


def parse_one(words: Sequence[str]) -> Reference:
    """Return the one object that is named. Raises BadRequest where it is none or several."""
    references = parse_named(words)
    if len(references) != 1:
        raise BadRequest(f"KIND NAME: {' '.join(words)!r} names {len(references)} objects; name one")
    return references[0]


def node_key(word: str) -> Key:
    """Return the key of the node that is called so, or `node/<name>`. Raises BadRequest where it is no name."""
    return Reference(NODE, _checked_name(word.removeprefix("node/"))).key("")


def checked_namespace(namespace: str) -> str:
    """Return the namespace. Raises BadRequest where it is no DNS label."""
    for problem in dns_label_problems(namespace):
        raise BadRequest(f"--namespace: {namespace!r} {problem}")
    return namespace


def none_found(references: Sequence[Reference], namespace: str) -> str:
    """Return what is said where nothing was found; `namespace` is empty where all were searched."""
    searched = namespace if any(reference.kind.namespaced for reference in references) else ""
    return "No resources found" + (f" in namespace {searched}" if searched else "")


def _parse_pair(word: str) -> Reference:
    kind, _, name = word.partition("/")
    return Reference(_parse_kind(kind), _checked_name(name))


def _parse_kind(word: str) -> Kind:
    kind = kind_named(word)
    if kind is None:
        raise BadRequest(f"KIND: {word!r} is unknown; write one of {_known()}")
    return kind


def _checked_name(name: str) -> str:
    for problem in dns_subdomain_problems(name):
        raise BadRequest(f"NAME: {name!r} {problem}")
    return name


def _known() -> str:
    return ", ".join(kind.short_names[0] if kind.short_names else kind.plural for kind in KINDS)
