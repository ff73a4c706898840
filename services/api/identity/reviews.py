"""Answers about identity and rights: `kubectl auth whoami`, `kubectl auth can-i`, and what other programs ask.

(pkg/registry/authentication, pkg/registry/authorization)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import Cause
from schemas.kinds import (
    ACCESS_REVIEW,
    LOCAL_ACCESS_REVIEW,
    SELF_ACCESS_REVIEW,
    SELF_REVIEW,
    SELF_REVIEW_BETA,
    SELF_RULES_REVIEW,
    TOKEN_REVIEW,
)
from schemas.objects import Object
from services.api.bodies import object_of
from services.api.failures import bad_request, invalid
from services.api.identity.authentication import Authenticator
from services.api.identity.authorization import Authorizer
from services.api.identity.nodes import node_of
from services.api.identity.rules import Attributes, Rule
from services.api.negotiation import JSON
from services.api.requests import Caller, Target, User
from services.api.seams import PartHandler

Answer = Callable[[User, Target, Object], Object]
"""What a review's status is: of who asks, where, and what the review says (its spec)."""


def review_handlers(
    authenticator: Authenticator, authorizer: Authorizer
) -> Mapping[tuple[str, str], PartHandler]:
    """Return who answers each kind of review."""

    def whoami(user: User, _target: Target, _spec: Object) -> Object:
        return {"userInfo": _raw_user(user)}

    def can_i(user: User, target: Target, spec: Object) -> Object:
        return _verdict(authorizer, user, _attributes(spec, target))

    def can_they(_user: User, target: Target, spec: Object) -> Object:
        asked = _attributes(spec, target)
        if target.namespace and asked.namespace != target.namespace:
            _refuse(
                target,
                "spec.resourceAttributes.namespace",
                f"must match metadata.namespace: {target.namespace}",
            )
        return _verdict(authorizer, _subject(spec, target), asked)

    def rules(user: User, _target: Target, spec: Object) -> Object:
        namespace = spec.get("namespace") or ""
        if not namespace:
            raise bad_request("no namespace on request")
        return _rules(user, authorizer.rules(user, namespace))

    def token(_user: User, _target: Target, spec: Object) -> Object:
        if not spec.get("token"):
            raise bad_request("token is required for TokenReview in authentication")
        grant = authenticator.grant(str(spec["token"]))
        if grant is None:
            return {"user": {}, "error": "the token is not known, was taken back, or is over"}
        known = authenticator(Caller(authorization=f"Bearer {spec['token']}"))
        return {"authenticated": True, "user": _raw_user(known)}

    answers: dict[str, Answer] = {
        SELF_REVIEW.resource: whoami,
        SELF_REVIEW_BETA.resource: whoami,
        SELF_ACCESS_REVIEW.resource: can_i,
        ACCESS_REVIEW.resource: can_they,
        LOCAL_ACCESS_REVIEW.resource: can_they,
        SELF_RULES_REVIEW.resource: rules,
        TOKEN_REVIEW.resource: token,
    }
    return {(resource, ""): _handler(answer) for resource, answer in answers.items()}


def _handler(answer: Answer) -> PartHandler:
    async def handle(request: Request, user: User, target: Target, body: bytes) -> Response:
        review = object_of(body, request.headers.get("content-type", ""), target)
        spec = review.get("spec") or {}
        if not isinstance(spec, dict):
            raise bad_request("spec is no object")
        told = {**review, "status": answer(user, target, spec)}
        return Response(orjson.dumps(told), 201, media_type=JSON)

    return handle


def _verdict(authorizer: Authorizer, user: User, asked: Attributes) -> Object:
    why = authorizer.refusal(user, asked)
    return {"allowed": why is None, **({"reason": why} if why else {})}


def _attributes(spec: Object, target: Target) -> Attributes:
    """Return what a review asks about (authorization/util.AuthorizationAttributesFrom)."""
    of_object, of_path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (of_object is None) == (of_path is None):
        _refuse(
            target,
            "spec.resourceAttributes",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )
    raw: Any = of_object if of_object is not None else of_path
    if not isinstance(raw, dict) or not all(isinstance(raw.get(each) or "", str) for each in _FIELDS):
        raise bad_request("spec: the attributes are an object of strings")
    if of_path is not None:
        return Attributes(raw.get("verb") or "", path=raw.get("path") or "")
    return Attributes(*(raw.get(each) or "" for each in _FIELDS[:6]))


_FIELDS = ("verb", "group", "resource", "subresource", "namespace", "name", "path")


def _subject(spec: Object, target: Target) -> User:
    name, groups = spec.get("user") or "", tuple(spec.get("groups") or ())
    if not name and not groups:
        _refuse(target, "spec.user", "at least one of user or group must be specified")
    return User(str(name), tuple(map(str, groups)), str(spec.get("uid") or ""))


def _rules(user: User, rules: tuple[Rule, ...]) -> Object:
    is_node = bool(node_of(user))
    return {
        "resourceRules": [
            {
                name: list(values)
                for name, values in (
                    ("verbs", rule.verbs),
                    ("apiGroups", rule.groups),
                    ("resources", rule.resources),
                    ("resourceNames", rule.names),
                )
                if values
            }
            for rule in rules
            if rule.resources
        ],
        "nonResourceRules": [
            {"verbs": list(rule.verbs), "nonResourceURLs": list(rule.paths)} for rule in rules if rule.paths
        ],
        "incomplete": is_node,
        **({"evaluationError": "node authorizer does not support user rule resolution"} if is_node else {}),
    }


def _raw_user(user: User) -> Object:
    raw = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    return {name: value for name, value in raw.items() if value}


def _refuse(target: Target, field: str, problem: str) -> None:
    raise invalid(target.kind.kind, target.kind.group, Cause(field, f"Invalid value: {problem}"))
