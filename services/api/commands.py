"""POST /chronoset/v1/commands: what the command line's commands come to, decided as it would decide them itself.

    {"id": "deploy-42", "claim": "user:alice", "check": false, "command": "Scale", "arguments": {...}}

Who asks is known as everywhere in the API, and may what a client may that writes the same objects: the roles of what a
command touches, the limits of nodes, no escalation. What the author calls himself besides is kept as a claim. The id is
the event's command, and a repeated one gets its first result here as on the log: whoever had no answer may ask again,
here or there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from events.commit import Edges, digest_of
from events.replica import Replica
from schemas.changes import Create, Replace
from schemas.envelopes import Actor
from schemas.errors import BadRequest, ChronosetError, Unavailable
from schemas.kinds import BY_RESOURCE
from schemas.objects import Object, split_key
from schemas.positions import stream_id_of
from schemas.times import Milliseconds
from services.api.app import caller_of, forbidden, status_response
from services.api.bodies import MAX_BODY, value_of
from services.api.failures import Failure, method_not_allowed
from services.api.limits import InFlight, read_body
from services.api.negotiation import JSON
from services.api.requests import Caller, Target, User
from services.api.seams import Handler, Policy, Wish
from services.api.statuses import status_of
from services.api.writes import PATIENCE, ReplicaSources, Writes, intent_of
from services.command_protocol import PATH
from services.commands import commands
from services.commands.commands import Command, key_of_command
from services.commands.deciding import Decided, decide
from services.commands.execution import LogExecutor, Outcome
from services.commands.sources import Sources
from services.commands.wire import error_json, outcome_json, read_command

LARGEST = 2 * MAX_BODY
"""Bytes of a request: the largest manifest may be longer as JSON."""
LONGEST_ID = 210
LONGEST_CLAIM = 260
PERSON = "user:"


class Revisions(Protocol):
    """The revisions that history has truncated, as of a position: services.projections.reader.Views has them."""

    def wait_for(self, position: int, timeout: float, /) -> bool:
        """Wait until they are of `position` or later; False after `timeout` seconds."""

    def kept_revisions(self, owner_uid: str, /) -> Sequence[Object]:
        """See services.commands.sources.Sources."""

    def kept_revision(self, owner_uid: str, number: int, /) -> Object | None:
        """See services.commands.sources.Sources."""


class NoRevisions:
    """Nothing is kept of what history has truncated."""

    def wait_for(self, _position: int, _timeout: float) -> bool:
        return True

    def kept_revisions(self, _owner_uid: str) -> Sequence[Object]:
        return []

    def kept_revision(self, _owner_uid: str, _number: int) -> Object | None:
        return None


class CommandSources(ReplicaSources):
    """A replica, and the revisions that it has no more: what a command is decided upon."""

    def __init__(
        self, replica: Replica, unseal: Callable[[Object], Object], revisions: Callable[[], Revisions]
    ) -> None:
        super().__init__(replica, unseal)
        self._revisions = revisions

    def kept_revisions(self, uid: str) -> Sequence[Object]:
        return self._caught_up().kept_revisions(uid)

    def kept_revision(self, uid: str, number: int) -> Object | None:
        return self._caught_up().kept_revision(uid, number)

    def _caught_up(self) -> Revisions:
        revisions, position = self._revisions(), self.replica.position
        if not revisions.wait_for(position, PATIENCE):
            raise Unavailable(
                f"the projections are not yet at {stream_id_of(position)}: is the projector running?"
            )
        return revisions


@dataclass(frozen=True, slots=True)
class Given:
    """A command as it came: under which id, by what name its author goes, and whether only to be decided."""

    command: Command
    id: str
    claim: str
    check: bool


@dataclass(frozen=True, slots=True)
class CommandPath:
    """Answers at PATH, on the writers' threads. `of_values` digests what carries a Secret's values."""

    policy: Policy
    in_flight: InFlight
    writes: Writes
    sources: Sources
    edges: Edges
    of_values: Callable[[bytes], str] = digest_of

    def handlers(self) -> Mapping[str, Handler]:
        """Return who answers where."""
        return {PATH: self._answer}

    async def _answer(self, request: Request, _user: User) -> Response:
        caller = caller_of(request)
        user = self.policy.authenticate(caller)
        if request.method != "POST":
            raise method_not_allowed(request.method, "commands")
        with self.in_flight.request(user.name):
            body = await read_body(request.stream(), request.headers.get("content-length", ""), LARGEST)
            try:
                given = await asyncio.to_thread(given_in, body)
                self._check_any(user, given.command)
                carry_out = partial(self._carry_out, given, user, caller)
                outcome = await self.writes.in_turn(key_of_command(given.command), carry_out)
            except Failure:
                raise
            except ChronosetError as error:
                return status_response(
                    {**status_of(error), "message": str(error), "error": error_json(error)}
                )
        return Response(orjson.dumps(outcome_json(outcome) if outcome else {}), media_type=JSON)

    def _carry_out(self, given: Given, user: User, caller: Caller) -> Outcome | None:
        """Carry a command out, or only look at what it would come to, as the command line does on the log."""
        intent = intent_of(user, caller)
        executor = LogExecutor(
            self.writes.log,
            self.sources,
            self.writes.catch_up,
            self.edges,
            self.of_values,
            partial(self._decided, user),
            intent.origin,
        )
        actor = intent.actor
        if not actor.claim and given.claim != actor.name:
            actor = Actor(actor.name, actor.authenticated, given.claim)
        if given.check:
            executor.check(given.command, actor, given.id)
            return None
        return executor.execute(given.command, actor, given.id)

    def _decided(self, user: User, command: Command, sources: Sources, now: Milliseconds) -> Decided:
        """Decide a command for somebody. Raises Failure 403, Forbidden, and what `decide` raises."""
        is_there = sources.get(key_of_command(command)) is not None
        target = target_of(command, is_there)
        if (why := self.policy.authorize(user, target)) is not None:
            raise forbidden(user, target, why)
        if (target.kind.resource, target.namespace) in self.policy.places:
            raise BadRequest(
                f"{target.resource} in {target.namespace} are no objects of the log: use kubectl"
            )
        decided = decide(command, sources, now)
        for wish in wishes_of(user, target, decided, sources):
            self.policy.admit(wish, sources, now)
        return decided

    def _check_any(self, user: User, command: Command) -> None:
        """Refuse who may not give a command whatever is there, before anything is looked at."""
        why = None
        for is_there in (False, True):
            target = target_of(command, is_there)
            why = self.policy.authorize(user, target)
            if why is None:
                return
        raise forbidden(user, target, why or "")


def given_in(body: bytes) -> Given:
    """Return what a request carries. Raises BadRequest, which names the field; Invalid. Validates manifests."""
    raw = value_of(body, JSON)
    if not isinstance(raw, dict):
        raise BadRequest("a command is an object with id, claim, check, command and arguments")
    id_, claim, check = raw.get("id"), raw.get("claim"), raw.get("check")
    if not isinstance(id_, str) or not 0 < len(id_) <= LONGEST_ID or not id_.isprintable() or " " in id_:
        raise BadRequest(f"id: write 1 to {LONGEST_ID} printable characters without spaces")
    if not isinstance(claim, str) or len(claim) > LONGEST_CLAIM or not claim.isprintable():
        raise BadRequest(f"claim: write at most {LONGEST_CLAIM} printable characters")
    if claim and not claim.startswith(PERSON):
        raise BadRequest(f"claim: {claim[:40]!r} is no person's: write {PERSON} and a name, or nothing")
    if not isinstance(check, bool):
        raise BadRequest("check: write true or false")
    return Given(read_command(raw), id_, claim, check)


def target_of(command: Command, is_there: bool) -> Target:
    """Return the request by which a client of Kubernetes' API would do what a command does (as kubectl's source does).

    `is_there` says whether the object exists, where a command makes it or changes it.
    """
    verb, part = "patch", ""
    match command:
        case commands.Apply() | commands.Switch() | commands.Retain():
            verb = "patch" if is_there else "create"
        case commands.Delete():
            verb = "delete"
        case commands.Evict():
            verb, part = "create", "eviction"
        case commands.Scale():
            part = "scale"
    resource, namespace, name = split_key(key_of_command(command))
    return Target(verb, BY_RESOURCE[resource], namespace, name, part)


def wishes_of(user: User, target: Target, decided: Decided, sources: Sources) -> Iterator[Wish]:
    """Yield what a decision wants of the object that its command is about; what follows from that is ours."""
    if target.verb == "delete" or target.subresource == "eviction":
        yield Wish(user, target, sources.get(target.key), None)
        return
    for change in decided.changes:
        match change:
            case Create(obj):
                yield Wish(user, target, None, obj)
            case Replace(old, new):
                yield Wish(user, target, old, new)
