"""Objects as bytes: an object once for each of its versions, lists joined of those, tables and bare metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import yaml

from schemas.event_shapes import events_event_of
from schemas.kinds import SECRET, Kind
from schemas.objects import Object
from schemas.positions import Position
from schemas.times import Milliseconds
from services.api.hub import DELETED
from services.api.kept_json import kept_json
from services.api.negotiation import PARTIAL, PARTIAL_LIST, TABLE, YAML, Form
from services.api.tables import table_of

CACHE_BYTES = 64 * 1024 * 1024
"""Bytes of serialised objects that are kept; the oldest go first."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Renderer:
    """Renders objects. `unseal` opens Secrets, `clock` is for ages in tables. Belongs to the event loop."""

    def __init__(self, unseal: Callable[[Object], Object], clock: Callable[[], Milliseconds]) -> None:
        self._unseal = unseal
        self._clock = clock
        self._cache: dict[tuple[str, str], bytes] = {}
        self._size = 0

    def at(self, moment: Milliseconds) -> Renderer:
        """Return a renderer by whose clock it is a moment of the past."""
        return Renderer(self._unseal, lambda: moment)

    def shown(self, kind: Kind, obj: Object) -> Object:
        """Return a stored object as its readers see it: a Secret unsealed, an Event in the shape that is asked for."""
        if kind.stored_as:
            return events_event_of(obj)
        return self._unseal(obj) if kind is SECRET else obj

    def plain(self, kind: Kind, obj: Object) -> bytes:
        """Return an object's JSON, kept by its uid and version; not that of a Secret, nor another shape of it."""
        if kind is SECRET or kind.stored_as or kind.derived_from:
            return orjson.dumps(self.shown(kind, obj))
        metadata = obj["metadata"]
        which = (metadata.get("uid", ""), metadata.get("resourceVersion", ""))
        found = self._cache.get(which)
        if found is None:
            found = kept_json(obj)
            if which[0] and which[1]:
                self._remember(which, found)
        return found

    def object(
        self, kind: Kind, obj: Object, form: Form, include: str = "Metadata", stored: bool = True
    ) -> bytes:
        """Return one object in a form; `stored` says that it is what its uid and version stand for."""
        if form.shape == TABLE:
            found = orjson.dumps(self._table(kind, [obj], form, include, _of(obj)))
        elif form.shape in (PARTIAL, PARTIAL_LIST):
            found = orjson.dumps(partial_of(obj, form.version))
        else:
            found = self.plain(kind, obj) if stored else orjson.dumps(self.shown(kind, obj))
        return as_yaml(found) if form.media_type == YAML else found

    def list(
        self, kind: Kind, objects: Sequence[Object], metadata: Object, form: Form, include: str
    ) -> bytes:
        """Return a list in a form; `metadata` is the list's own."""
        if form.shape == TABLE:
            found = orjson.dumps(self._table(kind, objects, form, include, metadata))
        elif form.shape in (PARTIAL, PARTIAL_LIST):
            items = [partial_of(obj, form.version) for obj in objects]
            found = orjson.dumps(
                _list(PARTIAL_LIST, f"meta.k8s.io/{form.version}", metadata) | {"items": items}
            )
        else:
            head = orjson.dumps(_list(f"{kind.kind}List", kind.api_version, metadata))
            found = b'%b,"items":[%b]}' % (head[:-1], b",".join([self.plain(kind, obj) for obj in objects]))
        return as_yaml(found) if form.media_type == YAML else found

    def event(self, kind: Kind, type_: str, obj: Object, form: Form, include: str = "Metadata") -> bytes:
        """Return a watch event as a line."""
        body = self.object(kind, obj, form, include, stored=type_ != DELETED)
        return b'{"type":"%b","object":%b}\n' % (type_.encode(), body)

    def bookmark(self, kind: Kind, position: Position, form: Form, is_initial_end: bool = False) -> bytes:
        """Return the watch event that only says how far the watch has come."""
        metadata: Object = {"resourceVersion": str(position), "creationTimestamp": None}
        if is_initial_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        obj: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        if form.shape == TABLE:
            body = orjson.dumps(self._table(kind, [], form, "None", metadata))
        elif form.shape:
            body = orjson.dumps(partial_of(obj, form.version))
        else:
            body = orjson.dumps(obj)
        return b'{"type":"BOOKMARK","object":%b}\n' % body

    def _table(
        self, kind: Kind, objects: Sequence[Object], form: Form, include: str, metadata: Object
    ) -> Object:
        table: Object = table_of(
            kind, [self.shown(kind, obj) for obj in objects], self._clock(), include, metadata
        )
        if form.version != "v1":
            for row in table["rows"]:
                if row.get("object", {}).get("apiVersion") == "meta.k8s.io/v1":
                    row["object"] = {**row["object"], "apiVersion": f"meta.k8s.io/{form.version}"}
            table["apiVersion"] = f"meta.k8s.io/{form.version}"
        return table

    def _remember(self, which: tuple[str, str], found: bytes) -> None:
        self._cache[which] = found
        self._size += len(found)
        while self._size > CACHE_BYTES:
            oldest = next(iter(self._cache))
            self._size -= len(self._cache.pop(oldest))


def partial_of(obj: Object, version: str = "v1") -> Object:
    """Return an object's metadata alone (metav1.PartialObjectMetadata)."""
    return {"kind": PARTIAL, "apiVersion": f"meta.k8s.io/{version}", "metadata": obj["metadata"]}


def as_yaml(json: bytes) -> bytes:
    """Return JSON as YAML, keys sorted as sigs.k8s.io/yaml sorts them."""
    text: str = yaml.dump(
        orjson.loads(json), Dumper=_DUMPER, sort_keys=True, allow_unicode=True, width=1_000_000
    )
    return text.encode()


def _of(obj: Object) -> Object:
    version = obj["metadata"].get("resourceVersion")
    return {"resourceVersion": version} if version else {}


def _list(kind: str, api_version: str, metadata: Object) -> Object:
    return {"kind": kind, "apiVersion": api_version, "metadata": metadata}
