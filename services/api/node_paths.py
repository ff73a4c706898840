"""What nodes need of the API beside Kubernetes': to join, to trust, and to know the names of pods.

POST /chronoset/v1/join         a join token for the token of one node
GET  /chronoset/v1/authority    the certificate authority, which whoever joins checks against the hash he was given
POST /chronoset/v1/certificate  a node's certificate request for the certificate of its server
GET  /chronoset/v1/names        what headless services publish, once that is not what the asker knows
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from events.replica import Replica
from schemas.errors import BadRequest, Forbidden
from schemas.kinds import NODE, POD, SERVICE
from schemas.objects import key_of, key_of_object
from schemas.positions import Position
from services.api.app import caller_of
from services.api.bodies import MAX_BODY
from services.api.failures import Failure, bad_request, method_not_allowed, no_such_path
from services.api.hub import Hub
from services.api.identity.bindings import MASTERS
from services.api.identity.node_certificates import LARGEST_REQUEST
from services.api.identity.nodes import GROUP, PREFIX, node_of
from services.api.identity.tokens import BOOTSTRAPPERS, new_token, secret_of
from services.api.limits import InFlight, read_body
from services.api.negotiation import JSON
from services.api.node_leases import NodeLeases, check_version, held
from services.api.requests import User
from services.api.seams import Authenticate, Handler
from services.api.writes import Writes, intent_of
from services.commands.objects import CreateObject, decide_write
from services.headless import records_of
from services.node_lists import checked_name
from services.node_protocol import AUTHORITY_PATH, CERTIFICATE_PATH, JOIN_PATH, NAMES_PATH

PATHS = (JOIN_PATH, AUTHORITY_PATH, CERTIFICATE_PATH, NAMES_PATH)
DEBOUNCE = 0.05
"""Seconds between two computations of the names, however many pods change meanwhile."""
LONGEST_WAIT = 60.0
_log = structlog.get_logger()

Certify = Callable[[bytes, str, Collection[str]], tuple[bytes, bytes]]
"""Signs the certificate request of a node with these addresses; returns the certificate and what signed it, in PEM."""


@dataclass(slots=True)
class NodePaths:
    """Answers at the paths of nodes. Belongs to the event loop; each answer knows for itself who may have it."""

    authenticate: Authenticate
    in_flight: InFlight
    writes: Writes
    replica: Replica
    hub: Hub
    leases: NodeLeases | None = None
    authority: bytes = b""
    certify: Certify | None = None
    _position: Position = -1
    _body: bytes = b""
    _version: str = ""
    _computed_at: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def handlers(self) -> Mapping[str, Handler]:
        """Return who answers where."""
        return {
            JOIN_PATH: self._join,
            AUTHORITY_PATH: self._tell_authority,
            CERTIFICATE_PATH: self._certify,
            NAMES_PATH: self._names,
        }

    async def _tell_authority(self, _request: Request, _user: User) -> Response:
        return PlainTextResponse(self.authority)

    async def _join(self, request: Request, _user: User) -> Response:
        """Give whoever has a join token the token of a node, which no other agent is now."""
        caller = caller_of(request)
        user = self.authenticate(caller)
        if request.method != "POST":
            raise method_not_allowed(request.method, "join")
        if not {BOOTSTRAPPERS, MASTERS} & set(user.groups):
            raise Forbidden(f'User "{user.name}" has no join token: `chronoset agent token create` makes one')
        check_version(caller.agent)
        content = await read_body(request.stream(), request.headers.get("content-length", ""), MAX_BODY)
        name, holder = _wanted(content)
        if self.leases is not None and (other := await self.leases.holder_of(name)) not in ("", holder):
            raise held(name, other)
        token = new_token()
        secret = secret_of(token, PREFIX + name, (GROUP,), 0)
        await self.writes.write(
            key_of_object(secret),
            lambda sources, _now: decide_write(CreateObject(secret), sources),
            intent_of(user, caller),
        )
        answer = {
            "node": name,
            "token": token,
            "graceSeconds": self.leases.grace_seconds if self.leases else 0,
        }
        return Response(orjson.dumps(answer), 201, media_type=JSON)

    async def _certify(self, request: Request, _user: User) -> Response:
        """Give a node a certificate for its server, of its own name and the addresses of its Node object."""
        user = self.authenticate(caller_of(request))
        if request.method != "POST":
            raise method_not_allowed(request.method, "certificate")
        if not (node := node_of(user)):
            raise Forbidden(f'User "{user.name}" is no node: certificates of servers are for nodes')
        if self.certify is None:
            raise no_such_path()
        announced = request.headers.get("content-length", "")
        asked = _asked_certificate(await read_body(request.stream(), announced, LARGEST_REQUEST))
        addresses = self._addresses_of(node)
        certificate, authority = self.certify(asked, node, addresses)
        _log.info("signed the certificate of a node's server", node=node, addresses=addresses)
        answer = {"certificate": certificate.decode(), "authority": authority.decode()}
        return Response(orjson.dumps(answer), 201, media_type=JSON)

    def _addresses_of(self, node: str) -> list[str]:
        found = self.replica.get(key_of(NODE.resource, "", node)) or {}
        addresses = (found.get("status") or {}).get("addresses") or ()
        return [each["address"] for each in addresses if each["type"] == "InternalIP"]

    async def _names(self, request: Request, _user: User) -> Response:
        user = self.authenticate(caller_of(request))
        if not (node_of(user) or MASTERS in user.groups):
            raise Forbidden(f'User "{user.name}" is no node: the names of pods are for nodes')
        known = request.query_params.get("after", "")
        seconds = request.query_params.get("timeoutSeconds", "0")
        if not seconds.isdecimal():
            raise bad_request(f"timeoutSeconds: {seconds[:20]!r} is no whole number of seconds")
        deadline = time.monotonic() + min(float(seconds), LONGEST_WAIT)
        with self.in_flight.watch(user.name):
            await self._compute()
            while self._version == known and not self.hub.closed:
                left = deadline - time.monotonic()
                if left <= 0 or not await self.hub.reach(self._position + 1, left):
                    break
                await self._compute()
        return Response(self._body + b"\n", media_type=JSON)

    async def _compute(self) -> None:
        """Bring the names up to date, at most every so often, once for all who wait."""
        async with self._lock:
            if self.hub.position == self._position:
                return
            await asyncio.sleep(max(0.0, self._computed_at + DEBOUNCE - time.monotonic()))
            position, before = self.hub.position, self._position
            if self._is_concerned(before):
                with self.replica.reading() as state:
                    services, pods = state.list(SERVICE.resource), state.list(POD.resource)
                records = orjson.dumps(records_of(services, pods))
                self._version = hashlib.sha256(records).hexdigest()[:16]
                self._body = b'{"version":"%b","records":%b}' % (self._version.encode(), records)
            self._position, self._computed_at = position, time.monotonic()

    def _is_concerned(self, before: Position) -> bool:
        """True unless nothing but other things have changed since a position."""
        try:
            changes = self.hub.ring.since(before)
        except Failure:
            return True
        return before < 0 or any(each.resource in (POD.resource, SERVICE.resource) for each in changes)


def _asked_certificate(content: bytes) -> bytes:
    """Return the certificate request, in PEM, that somebody sent. Raises BadRequest."""
    try:
        asked = orjson.loads(content)["request"]
    except (ValueError, KeyError, TypeError):
        asked = None
    if not isinstance(asked, str):
        raise bad_request('a request for a certificate is {"request": a PKCS#10 in PEM}')
    return asked.encode()


def _wanted(content: bytes) -> tuple[str, str]:
    """Return the node's name and its holder, from what somebody sent who wants to join. Raises BadRequest."""
    try:
        raw: Any = orjson.loads(content)
        name, holder = raw["node"], raw["holder"]
    except (ValueError, KeyError, TypeError):
        raise bad_request('a request to join is {"node": name, "holder": text}') from None
    if not isinstance(name, str) or not isinstance(holder, str) or not 0 < len(holder) < 254:
        raise BadRequest("node, holder: both are texts, the second of at most 253 characters")
    return checked_name(name), holder
