"""Loopback addresses: stable for an ordinal, apart for everybody else, never a special one."""

from __future__ import annotations

from services.agent.addresses import address_of, identity_of
from tests.services.agent.builders import a_pod


def owned(name: str, uid: str, kind: str = "StatefulSet") -> dict[str, object]:
    pod = a_pod(name, uid=uid)
    pod["metadata"]["ownerReferences"] = [{"kind": kind, "name": "db", "uid": "s", "controller": True}]
    return pod


def test_a_replacement_of_an_ordinal_keeps_the_address() -> None:
    first, second = owned("db-0", "u1"), owned("db-0", "u2")
    assert identity_of(first, "c") == identity_of(second, "c")
    assert identity_of(first, "c") != identity_of(owned("db-1", "u1"), "c")
    assert identity_of(first, "c") != identity_of(first, "other-cluster")


def test_other_pods_are_told_apart_by_uid() -> None:
    assert identity_of(owned("a", "u1", "DaemonSet"), "c") != identity_of(owned("a", "u2", "DaemonSet"), "c")
    assert identity_of(a_pod(uid="u1"), "c") != identity_of(a_pod(uid="u2"), "c")


def test_special_addresses_are_never_chosen() -> None:
    for number in range(20_000):
        _, second, _, last = map(int, address_of(f"pod-{number}", ()).split("."))
        assert 1 <= second <= 254 and 1 <= last <= 254


def test_a_taken_address_gives_way_to_the_next_choice() -> None:
    first = address_of("pod", ())
    second = address_of("pod", {first})
    assert second not in (first, address_of("pod", {first, second}))
    assert address_of("pod", {second}) == first
