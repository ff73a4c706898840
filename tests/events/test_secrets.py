"""A Secret's values never reach the log in the clear, and go with their key."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from events.commit import Edges
from events.secrets import LAST_APPLIED, Keyring
from schemas.changes import Create, Replace
from schemas.errors import Unavailable
from schemas.objects import Object, uid_of, with_fields
from tests.events.worlds import World

KEY = "core/secrets/default/db"
PASSWORD = base64.b64encode(b"hunter2").decode()


def a_secret(**data: str) -> Object:
    metadata = {
        "name": "db",
        "namespace": "default",
        "annotations": {LAST_APPLIED: f'{{"data":{{"p":"{PASSWORD}"}}}}'},
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}


def a_world(folder: Path) -> tuple[World, Keyring]:
    keyring = Keyring(folder / "keys")
    world = World(edges=Edges(seal=keyring.seal))
    world.commit(Create(a_secret(password=PASSWORD, user="YWxpY2U=")))
    return world, keyring


def test_no_value_is_readable_in_the_log_or_the_state(tmp_path: Path) -> None:
    world, keyring = a_world(tmp_path)
    raw = b"".join(entry.data for entry in world.entries())
    assert PASSWORD.encode() not in raw and b"hunter2" not in raw
    assert PASSWORD not in str(world.the(KEY))
    opened = keyring.unseal(world.the(KEY))
    assert opened["data"] == {"password": PASSWORD, "user": "YWxpY2U="}
    assert PASSWORD in opened["metadata"]["annotations"][LAST_APPLIED]


def test_a_value_that_does_not_change_keeps_its_text(tmp_path: Path) -> None:
    world, keyring = a_world(tmp_path)
    sealed = world.the(KEY)
    opened = keyring.unseal(sealed)
    assert world.commit(Replace(sealed, opened)).events == ()
    (event,) = world.commit(
        Replace(sealed, with_fields(opened, data={**opened["data"], "user": "Ym9i"}))
    ).events
    assert event.body is not None and list(event.body["data"]) == ["user"]
    assert keyring.unseal(world.the(KEY))["data"] == {"password": PASSWORD, "user": "Ym9i"}


def test_without_its_key_no_version_can_be_read(tmp_path: Path) -> None:
    world, keyring = a_world(tmp_path)
    assert keyring.unseal(world.the(KEY)) != world.the(KEY)
    (tmp_path / "keys" / f"{uid_of(world.the(KEY))}.key").unlink()
    assert Keyring(tmp_path / "keys").unseal(world.the(KEY)) == world.the(KEY)
    assert list((tmp_path / "keys").iterdir()) == []


def test_the_key_is_there_for_its_owner_only(tmp_path: Path) -> None:
    a_world(tmp_path)
    (key,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_a_text_that_was_moved_to_another_name_does_not_open(tmp_path: Path) -> None:
    world, keyring = a_world(tmp_path)
    sealed = world.the(KEY)
    swapped = with_fields(
        sealed, data={"password": sealed["data"]["user"], "user": sealed["data"]["password"]}
    )
    with pytest.raises(Unavailable, match="does not open"):
        keyring.unseal(swapped)


def test_nothing_is_appended_where_the_key_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file is in the way")
    world = World(edges=Edges(seal=Keyring(tmp_path / "keys").seal))
    end = world.log.last()
    with pytest.raises(Unavailable, match="key of Secret"):
        world.commit(Create(a_secret(password=PASSWORD)))
    assert world.log.last() == end


def test_other_kinds_are_left_alone(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    config = {**a_secret(password="x"), "kind": "ConfigMap"}
    assert keyring.seal(config, None) is config and keyring.unseal(config) is config


def test_a_digest_of_values_needs_the_keys_and_is_the_same_for_all_who_have_them(tmp_path: Path):
    one, other = Keyring(tmp_path / "keys"), Keyring(tmp_path / "keys")
    assert one.digest(b"hunter2") == other.digest(b"hunter2") != one.digest(b"hunter3")
    assert Keyring(tmp_path / "stolen").digest(b"hunter2") != one.digest(b"hunter2")
