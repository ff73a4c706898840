"""Lists: which version is asked for, which objects are meant, which page of them. Pure.

The table of resourceVersion and resourceVersionMatch is that of kubernetes.io, "API concepts, semantics for list";
the position of the first page is the position of all.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from schemas.objects import Object, name_of, namespace_of
from schemas.positions import Position
from services.api.failures import Failure, bad_request, forbidden_option
from services.api.requests import Options


@dataclass(frozen=True, slots=True)
class Asked:
    """Which version is asked for: the newest, any that is at hand, one not older than `version`, or exactly that.

    `after` is the (namespace, name) behind which a page begins.
    """

    how: Literal["newest", "any", "not older", "exact"]
    version: Position = 0
    after: tuple[str, str] | None = None


def asked_of(options: Options) -> Asked:
    """Return which version a list's options ask for. Raises Failure 400 and 422 for what does not go together."""
    match, text = options.resource_version_match, options.resource_version
    if options.continue_token:
        if match:
            raise _forbidden("resourceVersionMatch is forbidden for continue")
        if text not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        return _continued(options.continue_token)
    if match and not text:
        raise _forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match == "Exact" and text == "0":
        raise _forbidden('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
    if not text:
        return Asked("newest")
    version = version_of_query(text)
    if not version:
        return Asked("any")
    if match == "Exact" or (not match and options.limit):
        return Asked("exact", version)
    return Asked("not older", version)


def version_of_query(text: str) -> Position:
    """Return the position that a resourceVersion in a query names; nothing is 0. Raises Failure 400."""
    if not text:
        return 0
    if text.isascii() and text.isdecimal() and len(text) < 20:
        return int(text)
    raise bad_request(f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')


def page_of(
    objects: Sequence[Object], version: Position, options: Options, after: tuple[str, str] | None
) -> tuple[Sequence[Object], Object]:
    """Return a page of sorted objects, and the metadata of its list."""
    start = bisect_right(objects, after, key=_place) if after else 0
    metadata: Object = {"resourceVersion": str(version)}
    if not options.limit or len(objects) - start <= options.limit:
        return objects[start:], metadata
    page = objects[start : start + options.limit]
    metadata["continue"] = _token(version, _place(page[-1]))
    if not options.label_selector and not options.field_selector:
        metadata["remainingItemCount"] = len(objects) - start - len(page)
    return page, metadata


def _place(obj: Object) -> tuple[str, str]:
    return namespace_of(obj), name_of(obj)


def _token(version: Position, after: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(["chronoset/1", version, *after])).decode().rstrip("=")


def _continued(token: str) -> Asked:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        word, version, namespace, name = orjson.loads(raw)
        if word != "chronoset/1" or not isinstance(version, int) or version <= 0:
            raise ValueError
        return Asked("exact", version, (str(namespace), str(name)))
    except (ValueError, TypeError, binascii.Error):
        raise bad_request(
            "continue key is not valid: it must be what an earlier page of the list gave"
        ) from None


def _forbidden(problem: str) -> Failure:
    return forbidden_option("resourceVersionMatch", problem)
