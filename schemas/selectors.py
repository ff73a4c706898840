"""Selectors: which objects are meant by their labels, and which nodes by labels and fields.

Three ways to write one, one value to match with: label selector objects (metav1.LabelSelectorAsSelector),
text as `kubectl -l` takes it (apimachinery/pkg/labels), and the terms of node affinity (component-helpers
nodeaffinity).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain

from schemas.errors import BadRequest
from schemas.names import label_value_problems, qualified_name_problems
from schemas.objects import Object, labels_of, name_of

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one key. `operator` is one of `In NotIn Exists DoesNotExist Gt Lt`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """True if `labels` meets the condition. An absent key meets NotIn; Gt and Lt compare numbers."""
        return _OPERATORS[self.operator](labels.get(self.key), self.values)


@dataclass(frozen=True, slots=True)
class Selector:
    """All of some requirements. Without requirements it matches everything; `nothing` matches nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Labels) -> bool:
        return not self.nothing and all(requirement.matches(labels) for requirement in self.requirements)


def _is_greater(value: str | None, values: tuple[str, ...]) -> bool:
    return value is not None and _is_integer(value) is not None and int(value) > int(values[0])


def _is_less(value: str | None, values: tuple[str, ...]) -> bool:
    return value is not None and _is_integer(value) is not None and int(value) < int(values[0])


_OPERATORS: dict[str, Callable[[str | None, tuple[str, ...]], bool]] = {
    "In": lambda value, values: value is not None and value in values,
    "NotIn": lambda value, values: value is None or value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": _is_greater,
    "Lt": _is_less,
}

_is_integer = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII).fullmatch


def selector_of(selector: Object | None) -> Selector:
    """Return the selector of `{matchLabels, matchExpressions}`: None selects nothing, `{}` everything.

    Expects a valid object (schemas.validation checks it).
    """
    if selector is None:
        return Selector(nothing=True)
    equal = (
        Requirement(key, "In", (value,)) for key, value in sorted((selector.get("matchLabels") or {}).items())
    )
    return Selector((*equal, *map(_requirement_of, selector.get("matchExpressions") or ())))


def is_selected(selector: Object | None, labels: Labels) -> bool:
    """True if `selector_of(selector)` matches; quicker where one of many selectors is asked, or one of plain labels."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_requirement_of(each).matches(labels) for each in selector.get("matchExpressions") or ())


def matches_node(node_selector: Object | None, node: Object) -> bool:
    """True if a node meets a required node affinity `{nodeSelectorTerms: [...]}`; None is met by every node.

    Terms are ORed, the conditions of a term are ANDed, and an empty term is met by no node.
    """
    if node_selector is None:
        return True
    return any(matches_node_term(term, node) for term in node_selector.get("nodeSelectorTerms") or ())


def matches_node_term(term: Object, node: Object) -> bool:
    """True if a node meets one term `{matchExpressions, matchFields}`; the only field is `metadata.name`."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    labels, named = labels_of(node), {"metadata.name": name_of(node)}
    return all(
        chain(
            (_requirement_of(expression).matches(labels) for expression in expressions),
            (_requirement_of(field).matches(named) for field in fields),
        )
    )


def _requirement_of(expression: Object) -> Requirement:
    operator, values = expression["operator"], tuple(expression.get("values") or ())
    if operator in ("Gt", "Lt") and not (len(values) == 1 and _is_integer(values[0])):
        return Requirement(expression["key"], "In", ())
    return Requirement(expression["key"], operator, values)


_TOKEN = r"[^\s,()!=<>]"
_SET_BASED = re.compile(rf"({_TOKEN}+)\s+(in|notin)\s*\(([^()]*)\)")
_EQUALITY = re.compile(rf"({_TOKEN}+)\s*(==|=|!=|>|<)\s*({_TOKEN}*)")
_EXISTENCE = re.compile(rf"(!?)\s*({_TOKEN}+)")
_TEXT_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt", "in": "In", "notin": "NotIn"}


def parse_selector(text: str) -> Selector:
    """Return the selector of `app=web,tier in (a,b),!canary` (also `==`, `!=`, `notin`, `>`, `<`, `key`).

    Empty text selects everything. Raises BadRequest, naming the part that cannot be read.
    """
    requirements: list[Requirement] = []
    rest = text.strip()
    while rest:
        requirement, rest = _first_requirement(rest, text)
        requirements.append(requirement)
    return Selector(tuple(requirements))


def _first_requirement(rest: str, text: str) -> tuple[Requirement, str]:
    for pattern in (_SET_BASED, _EQUALITY, _EXISTENCE):
        found = pattern.match(rest)
        if found is None:
            continue
        after = rest[found.end() :].lstrip()
        if after in ("", ",") or after.startswith(","):
            remaining = after[1:].lstrip()
            if after and not remaining:
                break
            return _checked(_read(pattern, found), text), remaining
    raise BadRequest(
        f"selector {text!r}: cannot read {rest!r}; write conditions like app=web, tier!=db, "
        "zone in (a,b), zone notin (a,b), canary or !canary, joined by commas"
    )


def _read(pattern: re.Pattern[str], found: re.Match[str]) -> Requirement:
    if pattern is _EXISTENCE:
        return Requirement(found[2], "DoesNotExist" if found[1] else "Exists")
    values = [value.strip() for value in found[3].split(",")] if pattern is _SET_BASED else [found[3]]
    return Requirement(found[1], _TEXT_OPERATORS[found[2]], tuple(values))


def _checked(requirement: Requirement, text: str) -> Requirement:
    problems = [f"key {requirement.key!r}: {p}" for p in qualified_name_problems(requirement.key)]
    problems += [f"value {value!r}: {p}" for value in requirement.values for p in label_value_problems(value)]
    if requirement.operator in ("Gt", "Lt") and not _is_integer(requirement.values[0]):
        problems.append(f"value {requirement.values[0]!r}: must be a whole number after > or <")
    if problems:
        raise BadRequest(f"selector {text!r}: {problems[0]}")
    return requirement
