"""Sets created, changed and deleted over the HTTP API by POST, PATCH and DELETE; their status is polled."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from schemas.errors import Unavailable
from schemas.kinds import POD
from schemas.objects import Key, Object, key_of_object, split_key
from services.loadtest.api_clients import MERGE_PATCH, Caller, path_of, path_of_key, place_of
from services.loadtest.sets import is_settled

EVERY_ONE, EVERY_MANY = 0.02, 0.1
"""Seconds between two looks at the status of one set, and of many by a list."""


class ApiHand:
    """A services.loadtest.comparisons.Hand over the API. `patience` is how many seconds a wait may take."""

    def __init__(self, kubeconfig: Path, patience: float) -> None:
        self._api = Caller(place_of(kubeconfig))
        self._patience = patience
        self._known: dict[Key, Object] = {}

    def create(self, key: Key, obj: Object) -> None:
        resource, namespace, _ = split_key(key)
        self._known[key] = self._api.ask("POST", path_of(resource, namespace), obj).found() or {}

    def change(self, key: Key, change: Callable[[Object], Object]) -> None:
        patch = {"spec": change(self._known[key])["spec"]}
        answer = self._api.ask("PATCH", path_of_key(key), patch, MERGE_PATCH)
        self._known[key] = answer.found() or {}

    def delete(self, key: Key) -> None:
        options = {"propagationPolicy": "Background"}
        self._api.ask("DELETE", path_of_key(key), options).found()

    def wait_settled(self, keys: list[Key], pods: int) -> None:  # noqa: ARG002 - told by the sets themselves
        resource, namespace, _ = split_key(keys[0])

        def are_settled() -> bool:
            if len(keys) == 1:
                found = self._got(path_of_key(keys[0]))
                return found is not None and is_settled(found)
            listed = self._got(path_of(resource, namespace)) or {"items": []}
            kind = {"apiVersion": listed.get("apiVersion"), "kind": str(listed.get("kind"))[: -len("List")]}
            settled = {
                key_of_object({**kind, **obj}) for obj in listed["items"] if is_settled({**kind, **obj})
            }
            return set(keys) <= settled

        self._until(are_settled, f"{len(keys)} sets do not come to rest", len(keys))

    def wait_gone(self, keys: list[Key]) -> None:
        def are_gone() -> bool:
            return all(self._is_gone(key) for key in keys)

        self._until(are_gone, f"{len(keys)} sets are not gone", len(keys))

    def close(self) -> None:
        """Hang up."""
        self._api.close()

    def _is_gone(self, key: Key) -> bool:
        _, namespace, name = split_key(key)
        pods = path_of(POD.resource, namespace)
        left = self._got(pods, labelSelector=f"app={name}", limit="1") or {}
        return self._got(path_of_key(key)) is None and not left.get("items")

    def _got(self, path: str, **query: str) -> Object | None:
        where = f"{path}?{urlencode(query)}" if query else path
        return self._api.ask("GET", where).found(404)

    def _until(self, is_so: Callable[[], bool], why: str, count: int) -> None:
        deadline = time.monotonic() + self._patience
        while not is_so():
            if time.monotonic() > deadline:
                raise Unavailable(f"{why} within {self._patience:.0f} s")
            time.sleep(EVERY_ONE if count == 1 else EVERY_MANY)
