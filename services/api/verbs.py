"""The verbs on objects: what a target comes to, as a response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import orjson
from starlette.responses import Response

from schemas.changes import Replace
from schemas.errors import AlreadyExists, BadRequest, Cause, ChronosetError, NotFound
from schemas.kinds import BINDING, CLAIM, EVENT, NODE, POD, SCALED, SECRET, SERVICE, SERVICE_ACCOUNT, VOLUME
from schemas.objects import Key, Object, key_of, key_of_object, name_of, uid_of, with_metadata
from schemas.positions import Position
from schemas.selectors import parse_selector
from schemas.times import Milliseconds
from services.api.bodies import delete_options_of, object_of, part_of, patch_of, with_delete_options
from services.api.derived import DEPRECATED, endpoints_of
from services.api.failures import (
    Failure,
    bad_request,
    failure,
    forbidden_option,
    invalid,
    not_acceptable,
)
from services.api.field_selectors import equalities_of, parse_field_selector
from services.api.hub import ADDED, PLACES, Encoding, Selection
from services.api.limits import InFlight
from services.api.lists import asked_of, page_of, version_of_query
from services.api.negotiation import JSON, JSON_PATCH, YAML, Form, form_of, patch_type_of
from services.api.notice_books import merged
from services.api.notices import event_of
from services.api.reads import Reading, Snapshot
from services.api.rendering import Renderer
from services.api.requests import Caller, Target, User
from services.api.seams import Policy, Wish
from services.api.statuses import status_of, success
from services.api.streams import Course, WatchResponse
from services.api.writes import (
    NAMES_TRIED,
    Decide,
    ReplicaSources,
    Writes,
    Written,
    decide_delete,
    intent_of,
    with_generated_name,
)
from services.commands.commands import Evict
from services.commands.deciding import Decided, decide
from services.commands.objects import (
    SCALE,
    STATUS,
    Bind,
    CreateObject,
    PatchObject,
    UpdateObject,
    Write,
    decide_bind,
    decide_write,
    scale_of,
)
from services.scheduler.scheduling import with_scheduled

QUICK_BODY = 16 * 1024
"""Bytes of a body up to which a write may be quick."""
DELETED_AT_ONCE = 50
"""Objects of a collection that are deleted in one batch."""
_GIVEN_BACK = frozenset(kind.resource for kind in (POD, SERVICE, SERVICE_ACCOUNT, CLAIM, VOLUME))
"""Kinds whose deletion is answered with the object (ReturnDeletedObject), not with a Status."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request about a target, as far as its answer depends on it."""

    user: User
    caller: Caller
    target: Target
    accept: str
    content_type: str
    body: bytes

    @property
    def form(self) -> Form:
        return form_of(self.accept)


@dataclass(frozen=True, slots=True)
class Tools:
    """What the verbs work with."""

    reads: Reading
    writes: Writes
    renderer: Renderer
    in_flight: InFlight
    policy: Policy


Verb = Callable[[Asked, Tools], Awaitable[Response]]


async def answer(asked: Asked, tools: Tools) -> Response:
    """Carry out a verb and return its response. Raises ChronosetError."""
    target = asked.target
    if target.kind.refusal:
        return await _refused(asked, tools)
    verb: Verb | None
    if target.kind is BINDING:
        verb = bind
    elif target.subresource in SHOWN_PARTS:
        verb = _VERBS[target.verb]
    else:
        verb = _PARTS.get((target.verb, target.subresource))
    is_served = target.kind.is_stored or target.kind.stored_as or target.kind.derived_from
    if verb is None or not (is_served or target.kind is BINDING):
        what = f"{target.kind.plural}/{target.subresource}" if target.subresource else target.kind.plural
        raise failure(501, "NotImplemented", f"{target.verb} of {what} is not served here")
    return await verb(asked, tools)


async def get(asked: Asked, tools: Tools) -> Response:
    """Return one object, or its scale."""
    target, form = asked.target, asked.form
    version = version_of_query(target.options.resource_version)
    if version:
        await tools.reads.at_least(version)
    elif not target.options.resource_version:
        await tools.reads.catch_up()
    if target.kind.derived_from:
        return await _get_derived(asked, tools)
    found = tools.reads.get(target.key)
    if found is None and target.key.startswith(f"{EVENT.resource}/"):
        said = tools.reads.notice(target.namespace, target.name)
        found = event_of(said) if said else None
    if found is None:
        raise NotFound(f"{target.subject} not found", target.key)
    return _response(asked, tools, Written(found), form)


async def list_(asked: Asked, tools: Tools) -> Response:
    """Return the objects that are selected, of one version, a page of them where that is asked for."""
    target, options, form = asked.target, asked.target.options, asked.form
    wanted, selection = asked_of(options), selection_of(target)
    found = await _snapshot(wanted.how, wanted.version, selection, tools.reads)
    shown = replace(found, objects=endpoints_of(found.objects)) if target.kind.derived_from else found
    objects = await _selected(shown, selection, options.field_selector, tools.reads)
    page, metadata = page_of(objects, found.version, options, wanted.after)
    if "continue" in metadata:
        tools.reads.keep((selection.resource, selection.namespace, found.version), found)
    body = tools.renderer.list(target.kind, page, metadata, form, options.include)
    response = Response(body, media_type=form.media_type)
    return _deprecated(response) if target.kind.derived_from else response


async def watch(asked: Asked, tools: Tools) -> Response:
    """Return the stream of what happens to the objects that are selected.

    One that asks for a version that the ring no longer has is told so by an event, as Kubernetes does.
    """
    target, options, form = asked.target, asked.target.options, asked.form
    if form.media_type == YAML:
        raise not_acceptable((JSON,))
    selection = selection_of(target)
    start, first = await beginning(asked, tools, selection, form)
    encoding = Encoding(
        f"{form.shape}/{form.version}/{options.include}/{target.kind.resource}",
        lambda type_, obj: tools.renderer.event(target.kind, type_, obj, form, options.include),
    )
    try:
        watcher = tools.reads.hub.watch(selection, encoding, start)
    except Failure as gone:
        return Response(b'{"type":"ERROR","object":%b}\n' % orjson.dumps(gone.status), media_type=JSON)
    place = tools.in_flight.watch(asked.user.name)
    try:
        place.take()
    except Failure:
        tools.reads.hub.leave(watcher)
        raise
    bookmark = _bookmark(asked, tools, form) if options.allow_bookmarks else None
    course = Course(bookmark, float(options.timeout_seconds))
    return WatchResponse(tools.reads.hub, watcher, first, course, place)


async def create(asked: Asked, tools: Tools) -> Response:
    """Create an object; where it has only a generateName, try names until one is free."""
    target = asked.target
    obj = object_of(asked.body, asked.content_type, target)
    generated = not obj["metadata"].get("name") and bool(obj["metadata"].get("generateName"))
    for attempt in range(1, NAMES_TRIED + 1):
        named = with_generated_name(obj) if generated else obj
        if not named["metadata"].get("name"):
            raise _name_required(target)
        known = replace(target, name=name_of(named))
        command = CreateObject(named, target.options.field_validation)
        try:
            written = await _write(asked, tools, command, known)
            break
        except AlreadyExists:
            if not generated or attempt == NAMES_TRIED:
                raise
        except ChronosetError as error:
            raise Failure(status_of(error, known)) from error
    return _written(asked, tools, written, 201)


async def update(asked: Asked, tools: Tools) -> Response:
    """Put an object, its status or its scale in the place of what is there."""
    target = asked.target
    obj = object_of(asked.body, asked.content_type, target)
    obj = with_metadata(obj, name=target.name)
    command = UpdateObject(target.key, obj, target.subresource, target.options.field_validation)
    written = await _write(asked, tools, command, target)
    return _written(asked, tools, written, 201 if written.made else 200)


async def patch(asked: Asked, tools: Tools) -> Response:
    """Patch an object, its status or its scale."""
    target = asked.target
    kind = patch_type_of(asked.content_type)
    value = patch_of(asked.body)
    command = PatchObject(
        target.key, kind, value, target.subresource, target.options.field_validation, target.kind
    )
    return _written(asked, tools, await _write(asked, tools, command, target), 200)


async def delete(asked: Asked, tools: Tools) -> Response:
    """Delete an object, or ask it to end."""
    options = delete_options_of(asked.body, asked.content_type, asked.target.options)
    target = replace(asked.target, options=options)

    def decided(sources: ReplicaSources, now: Milliseconds) -> Decided:
        found = decide_delete(target.key, options, sources, now)
        _admit_deletion(asked, tools, sources, target.key, now)
        return found

    written = await _carry_out(asked, tools, decided, options.dry_run)
    if written.gone and target.kind.resource not in _GIVEN_BACK:
        return _json(asked, success(target, uid_of(written.object)))
    return _response(asked, tools, written, asked.form)


async def delete_collection(asked: Asked, tools: Tools) -> Response:
    """Delete the objects that are selected, some dozens in a batch; answer with them as they were."""
    target = asked.target
    options = delete_options_of(asked.body, asked.content_type, target.options)
    selection = selection_of(target)
    await tools.reads.catch_up()
    found = await tools.reads.snapshot(selection.resource, selection.namespace)
    chosen = [obj for obj in found.objects if selection.has(obj)]
    for begin in range(0, len(chosen), DELETED_AT_ONCE):
        some = [(key_of_object(obj), uid_of(obj)) for obj in chosen[begin : begin + DELETED_AT_ONCE]]

        def decided(
            sources: ReplicaSources, now: Milliseconds, some: list[tuple[Key, str]] = some
        ) -> Decided:
            found = ((key, uid, sources.get(key)) for key, uid in some)
            present = [key for key, uid, obj in found if obj is not None and uid_of(obj) == uid]
            each = [decide_delete(key, options, sources, now) for key in present]
            for key in present:
                _admit_deletion(asked, tools, sources, key, now)
            return Decided(tuple(change for one in each for change in one.changes))

        intent_number = f"{asked.caller.request}-{begin}" if begin else asked.caller.request
        numbered = replace(asked, caller=replace(asked.caller, request=intent_number))
        await _carry_out(numbered, tools, decided, options.dry_run)
    body = tools.renderer.list(
        target.kind, chosen, {"resourceVersion": str(found.version)}, asked.form, options.include
    )
    return Response(body, media_type=asked.form.media_type)


async def evict(asked: Asked, tools: Tools) -> Response:
    """Delete a pod if its budget lets it go (registry/core/pod/storage/eviction.go)."""
    target = asked.target
    eviction = object_of(asked.body, asked.content_type, target)
    options = with_delete_options(target.options, part_of(eviction, "deleteOptions"))
    command = Evict(target.key, options.grace_seconds, options.expected_uid, options.expected_version)

    def decided(sources: ReplicaSources, now: Milliseconds) -> Decided:
        found = decide(command, sources, now)
        _admit_deletion(asked, tools, sources, target.key, now)
        return found

    await _carry_out(asked, tools, decided, options.dry_run)
    return _json(asked, {**success(replace(target, name="")), "code": 201}, 201)


async def bind(asked: Asked, tools: Tools) -> Response:
    """Bind a pod to a node, as a scheduler does (registry/core/pod/storage BindingREST)."""
    target = asked.target
    binding = object_of(asked.body, asked.content_type, target)
    named = binding.get("target")
    if not isinstance(named, dict) or named.get("kind", "Node") != "Node" or not named.get("name"):
        raise bad_request("target: a Binding names a Node: {kind: Node, name: ...}")
    name = target.name or binding["metadata"].get("name", "")
    key = key_of(POD.resource, target.namespace, name)
    command = Bind(key, str(named["name"]), binding["metadata"].get("uid") or "")

    def decided(sources: ReplicaSources, now: Milliseconds) -> Decided:
        bound = decide_bind(command, sources)
        node = sources.get(key_of(NODE.resource, "", command.node))
        old = sources.get(key)
        assert old is not None
        change = Replace(old, with_scheduled(bound, "True", "", now))
        return Decided((change,), rests_on=(node,) if node else ())

    await _carry_out(asked, tools, decided, target.options.dry_run)
    return _json(asked, {**success(replace(target, name="")), "code": 201}, 201)


def selection_of(target: Target) -> Selection:
    """Return which objects a list, a watch or a deletion of a collection is about. Raises Failure 400."""
    options = target.options
    resource = target.kind.derived_from or target.kind.stored_as or target.kind.resource
    try:
        labels = parse_selector(options.label_selector)
    except BadRequest as error:
        raise bad_request(f"unable to parse requirement: {error}") from error
    fields = parse_field_selector(options.field_selector, target.kind) if options.field_selector else None
    return Selection(resource, target.namespace, labels, fields, _place_of(options.field_selector))


def _place_of(field_selector: str) -> tuple[str, str]:
    """Return the first condition of a field selector that says where its watches are kept."""
    for condition in field_selector.split(","):
        path, _, value = condition.replace("==", "=").partition("=")
        if path in PLACES and "\\" not in value and value == value.strip():
            return path, value
    return "", ""


async def _get_derived(asked: Asked, tools: Tools) -> Response:
    """Return one object that follows from others."""
    target = asked.target
    found = await tools.reads.snapshot(target.kind.derived_from, target.namespace)
    for each in endpoints_of(found.objects):
        if name_of(each) == target.name:
            return _deprecated(_response(asked, tools, Written(each), asked.form))
    raise failure(404, "NotFound", f"{target.subject} not found", name=target.name, kind=target.kind.plural)


def _deprecated(response: Response) -> Response:
    response.headers.append("Warning", _warning(DEPRECATED))
    return response


async def _snapshot(how: str, version: Position, selection: Selection, reads: Reading) -> Snapshot:
    if how == "exact":
        return await reads.past(selection.resource, selection.namespace, version)
    if how == "newest":
        await reads.catch_up()
    elif how == "not older":
        await reads.at_least(version)
    return await reads.snapshot(selection.resource, selection.namespace)


async def _selected(
    found: Snapshot, selection: Selection, field_selector: str, reads: Reading
) -> list[Object]:
    """Return the objects of a snapshot that are selected; of Events also those that follow from the log."""
    objects = [obj for obj in found.objects if selection.has(obj)]
    if selection.resource != EVENT.resource:
        return objects
    wanted = equalities_of(field_selector)
    told = [*await reads.notices(wanted, found.version), *await reads.troubles(wanted)]
    here = (each for each in told if not selection.namespace or each.namespace == selection.namespace)
    return [event for event in merged(objects, here) if selection.has(event)]


async def beginning(asked: Asked, tools: Tools, selection: Selection, form: Form) -> tuple[Position, bytes]:
    """Return where a watch starts, and what it sends first (kubernetes.io, "semantics for watch")."""
    options, reads = asked.target.options, tools.reads
    wants_initial = options.send_initial_events
    if wants_initial is not None and options.resource_version_match != "NotOlderThan":
        problem = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise forbidden_option("sendInitialEvents", problem)
    if wants_initial is None and options.resource_version_match:
        problem = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        raise forbidden_option("sendInitialEvents", problem)
    version = version_of_query(options.resource_version)
    if version and not wants_initial:
        return version, b""
    if version:
        await reads.at_least(version)
    elif not options.resource_version:
        await reads.catch_up()
    found = await reads.snapshot(selection.resource, selection.namespace)
    if wants_initial is False:
        return found.version, b""
    lines = [
        tools.renderer.event(asked.target.kind, ADDED, obj, form, options.include)
        for obj in await _selected(found, selection, options.field_selector, reads)
    ]
    if wants_initial and options.allow_bookmarks:
        lines.append(tools.renderer.bookmark(asked.target.kind, found.version, form, is_initial_end=True))
    return found.version, b"".join(lines)


def _bookmark(asked: Asked, tools: Tools, form: Form) -> Callable[[Position], bytes]:
    return lambda position: tools.renderer.bookmark(asked.target.kind, position, form)


async def _write(asked: Asked, tools: Tools, command: Write, target: Target) -> Written:
    def decided(sources: ReplicaSources, now: Milliseconds) -> Decided:
        def admission(old: Object | None, new: Object) -> tuple[Object, tuple[str, ...]]:
            admitted = tools.policy.admit(Wish(asked.user, target, old, new), sources, now)
            assert admitted.new is not None
            return admitted.new, admitted.warnings

        return decide_write(command, sources, admission)

    return await _carry_out(replace(asked, target=target), tools, decided, target.options.dry_run)


async def _carry_out(asked: Asked, tools: Tools, decided: Decide, dry_run: bool) -> Written:
    key, intent = asked.target.key, intent_of(asked.user, asked.caller)
    if dry_run:
        return await tools.writes.try_out(key, decided, intent)
    return await tools.writes.write(key, decided, intent, _is_quick(asked))


def _is_quick(asked: Asked) -> bool:
    """Say whether a write is decided in a millisecond or so.

    What is large is not, nor a Secret, whose key goes to the disk first, nor a JSON patch, which may copy what it
    likes; a collection is many.
    """
    target = asked.target
    return (
        len(asked.body) <= QUICK_BODY
        and target.kind is not SECRET
        and target.verb != "deletecollection"
        and not asked.content_type.startswith(JSON_PATCH)
    )


def _admit_deletion(asked: Asked, tools: Tools, sources: ReplicaSources, key: Key, now: Milliseconds) -> None:
    tools.policy.admit(Wish(asked.user, asked.target, sources.get(key), None), sources, now)


def _written(asked: Asked, tools: Tools, written: Written, code: int) -> Response:
    response = _response(asked, tools, written, asked.form, code)
    for text in dict.fromkeys(written.warnings):
        response.headers.append("Warning", _warning(text))
    return response


def _response(asked: Asked, tools: Tools, written: Written, form: Form, code: int = 200) -> Response:
    target, obj = asked.target, written.object
    if target.subresource == SCALE:
        body = tools.renderer.object(SCALED, scale_of(obj), form, target.options.include, stored=False)
    else:
        body = tools.renderer.object(target.kind, obj, form, target.options.include, not written.tried)
    return Response(body, code, media_type=form.media_type)


def _json(_asked: Asked, value: Object, code: int = 200) -> Response:
    return Response(orjson.dumps(value), code, media_type=JSON)


def _warning(text: str) -> str:
    """Return a Warning header's value (RFC 7234): code 299, no agent, the text quoted, ASCII, on one line."""
    plain = " ".join(text.encode("ascii", "backslashreplace").decode().split())[:1000]
    quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'


async def _refused(asked: Asked, tools: Tools) -> Response:
    """Answer for a kind that is only known: nothing of it is there, and nothing of it can be made."""
    target = asked.target
    if target.verb in ("list", "deletecollection"):
        return await list_(replace(asked, target=replace(target, verb="list")), tools)
    if target.verb == "watch":
        return await watch(asked, tools)
    if target.verb == "create":
        obj = object_of(asked.body, asked.content_type, target)
        named = replace(target, name=obj["metadata"].get("name") or "")
        raise failure(
            403,
            "Forbidden",
            f"{named.subject if named.name else named.resource} is forbidden: {target.kind.refusal}",
            name=named.name,
            group=target.kind.group,
            kind=target.kind.plural,
        )
    raise failure(
        404,
        "NotFound",
        f"{target.subject} not found",
        name=target.name,
        group=target.kind.group,
        kind=target.kind.plural,
    )


def _name_required(target: Target) -> Failure:
    problem = "Required value: name or generateName is required"
    return invalid(target.kind.kind, target.kind.group, Cause("metadata.name", problem, "FieldValueRequired"))


_VERBS: Mapping[str, Verb] = {
    "get": get,
    "list": list_,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}
SHOWN_PARTS = ("", STATUS, SCALE)
"""The object itself and the parts of it that are read and written like it."""
_PARTS: Mapping[tuple[str, str], Verb] = {("create", "eviction"): evict, ("create", "binding"): bind}
