"""What every namespace has, from its first moment on and whoever takes it away."""

from __future__ import annotations

from schemas.objects import Object, key_of_object
from services.controllers.namespaces import (
    AUTHORITY,
    AUTHORITY_FIELD,
    AUTHORITY_NAMESPACE,
    NAMESPACES,
    ROOT,
    ROOT_FIELD,
    triggers,
)
from tests.builders import a_state, an_object
from tests.services.controllers.settling import Settling


def a_namespace(name: str = "shop", **metadata: str) -> Object:
    return an_object("Namespace", name, metadata=metadata, spec={"finalizers": ["kubernetes"]})


def the_authority(pem: str = "PEM") -> Object:
    return an_object("ConfigMap", AUTHORITY, AUTHORITY_NAMESPACE, data={AUTHORITY_FIELD: pem})


def contents(run: Settling) -> list[tuple[str, str]]:
    found = [*run.state.list("core/serviceaccounts"), *run.state.list("core/configmaps")]
    return sorted((key_of_object(each), str(each.get("data", {}).get(ROOT_FIELD, ""))) for each in found)


def test_a_namespace_gets_its_account_and_what_to_trust() -> None:
    run = Settling(NAMESPACES, a_state(a_namespace(), the_authority())).resync()

    assert contents(run)[1:] == [
        ("core/configmaps/shop/kube-root-ca.crt", "PEM"),
        ("core/serviceaccounts/shop/default", ""),
    ]


def test_without_an_authority_there_is_only_the_account() -> None:
    run = Settling(NAMESPACES, a_state(a_namespace())).resync()

    assert contents(run) == [("core/serviceaccounts/shop/default", "")]


def test_what_somebody_changed_is_put_right_and_what_is_right_stays() -> None:
    account = an_object("ServiceAccount", "default", "shop")
    root = an_object("ConfigMap", ROOT, "shop", data={ROOT_FIELD: "FAKE", "more": "x"})
    run = Settling(NAMESPACES, a_state(a_namespace(), the_authority(), account, root)).resync()

    stored = run.state.get(f"core/configmaps/shop/{ROOT}")
    assert stored is not None and stored["data"] == {ROOT_FIELD: "PEM"}
    assert run.state.get("core/serviceaccounts/shop/default") is account


def test_nothing_is_made_in_a_namespace_that_goes() -> None:
    going = a_namespace(deletionTimestamp="2026-01-01T00:00:00Z")
    run = Settling(NAMESPACES, a_state(going, the_authority())).resync()

    assert len(contents(run)) == 1


def test_it_looks_when_something_is_taken_away_and_everywhere_when_the_authority_changes() -> None:
    shop, bank = a_namespace("shop"), a_namespace("bank")
    state = a_state(shop, bank, the_authority())
    account, root = an_object("ServiceAccount", "default", "shop"), an_object("ConfigMap", ROOT, "bank")
    other = an_object("ConfigMap", "settings", "shop")

    assert list(triggers(state, None, shop)) == ["core/namespaces/shop"]
    assert list(triggers(state, account, None)) == ["core/namespaces/shop"]
    assert list(triggers(state, root, None)) == ["core/namespaces/bank"]
    assert list(triggers(state, None, the_authority("NEW"))) == [
        "core/namespaces/shop",
        "core/namespaces/bank",
    ]
    assert list(triggers(state, None, other)) == list(triggers(state, None, account)) == []
