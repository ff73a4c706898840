"""What an API server looks after while it runs."""

from __future__ import annotations

import stat
import time
from pathlib import Path

from events.commit import Committer, Edges, Intent, Proposal
from events.memory import MemoryLog, wall_clock
from events.replica import Replica
from schemas.canonical import canonical
from schemas.changes import Create
from schemas.envelopes import Actor
from schemas.objects import key_of_object
from services.api.identity.tokens import new_token, secret_of
from services.api.keepers import Keeper
from services.bootstrap import prepare_log
from services.command_protocol import CREDENTIALS, Place, answering, read_place

DEADLINE = 10.0


def a_keeper(folder: Path) -> Keeper:
    return Keeper(folder, "shop", ("127.0.0.1", 6443), Edges())


def test_it_publishes_its_place_and_takes_away_a_token_that_is_over(tmp_path: Path) -> None:
    log = MemoryLog()
    prepare_log(log, tmp_path)
    replica = Replica(log)
    replica.load()
    secret = canonical(secret_of(new_token(), "bob", (), wall_clock() - 1_000)).object
    committer = Committer(log, replica, lambda _: None)
    committer.commit(lambda: Proposal([Create(secret)]), Intent(Actor("user:admin"), "c1"))
    replica.start()
    with a_keeper(tmp_path).keeping(tmp_path / "kubeconfig", lambda: log, replica, lambda obj: obj):
        deadline = time.monotonic() + DEADLINE
        while replica.get(key_of_object(secret)) is not None or not replica.get(
            "core/services/default/kubernetes"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.005)
            replica.wait_for(log.last(), DEADLINE)
    replica.stop()


def test_what_the_command_line_is_known_by_is_its_owners_alone(tmp_path: Path) -> None:
    keeper = a_keeper(tmp_path)
    keeper.write_kubeconfig(tmp_path / "kubeconfig")
    for path in (tmp_path / CREDENTIALS, tmp_path / "kubeconfig"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" in (tmp_path / CREDENTIALS).read_bytes()


def test_where_it_answers_is_said_as_long_as_it_does(tmp_path: Path) -> None:
    place = Place(a_keeper(tmp_path).url, "log")
    assert place.url == "https://127.0.0.1:6443"
    assert read_place(tmp_path) is None
    with answering(tmp_path, place):
        assert read_place(tmp_path) == place
        with answering(tmp_path, Place("https://127.0.0.1:1", "log")):
            assert read_place(tmp_path) != place
        assert read_place(tmp_path) is None
    (tmp_path / "answers.json").write_text('{"url": 5}')
    assert read_place(tmp_path) is None
