"""A state that was packed is the same state; one that is damaged is not taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.fold import apply_entries
from events.snapshots import pack_state, unpack_state
from events.state import Failure, State
from schemas.errors import LostHistory
from tests.events.archives import a_long_history, a_sealer, archived, facts_of
from tests.events.worlds import World
from tests.goldens.write import a_varied_history


def a_state(tmp_path: Path) -> State:
    state = a_varied_history(tmp_path / "keys").state
    state.failures["uid-1", "web-0"] = Failure(3, 1_795_401_564_000, 7)
    return state


def test_a_state_is_packed_and_unpacked_with_all_its_facts_and_indexes(tmp_path: Path) -> None:
    state = a_state(tmp_path)
    found = State.of(unpack_state(pack_state(state), "it"))
    assert facts_of(found) == facts_of(state)
    assert list(found.ended) == list(state.ended) and dict(found.heads()) == dict(state.heads())


def test_what_comes_after_folds_as_on_the_state_itself(tmp_path: Path) -> None:
    world = World()
    for rounds in (3, 5):
        world = a_long_history(rounds=rounds)
        entries = world.entries()
        half = next(n for n in range(len(entries) // 2, 0, -1) if is_batch_end(entries, n))
        state = State()
        apply_entries(state, entries[:half])
        found, facts = State.of(unpack_state(pack_state(state), "it")), unpack_state(pack_state(state), "it")
        apply_entries(found, entries[half:])
        apply_entries(facts, entries[half:])
        assert facts_of(found) == facts_of(State.of(facts)) == facts_of(world.state)


def is_batch_end(entries: list, count: int) -> bool:  # type: ignore[type-arg]
    from events.codec import decode

    last = decode(entries[count - 1])
    return last.offset == last.size - 1


def test_secrets_stay_sealed(tmp_path: Path) -> None:
    import msgpack
    import zstandard

    packed = pack_state(a_state(tmp_path))
    assert b"sealed:v1:" not in packed, "it is compressed"
    found = unpack_state(packed, "it")
    secret = found.objects["core/secrets/other/s"]
    assert secret["data"]["a"].startswith("sealed:v1:")
    assert b"sealed:v1:" in msgpack.packb(found.objects) and zstandard is not None


def test_any_damage_is_found(tmp_path: Path) -> None:
    packed = pack_state(a_state(tmp_path))
    for at in [*range(0, len(packed), 97), len(packed) - 1]:
        damaged = packed[:at] + bytes([packed[at] ^ 0x40]) + packed[at + 1 :]
        with pytest.raises(LostHistory, match="snapshot it"):
            unpack_state(damaged, "it")
    for length in (0, 5, 30, len(packed) - 1):
        with pytest.raises(LostHistory, match="snapshot it"):
            unpack_state(packed[:length], "it")


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = a_state(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("events.snapshots.FORMAT", 2)
        packed = pack_state(state)
    with pytest.raises(LostHistory, match="format 2, this program reads up to 1"):
        unpack_state(packed, "it")


def test_a_damaged_snapshot_is_passed_over_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from events import sealing
    from events.memory import MemoryLog
    from tests.events.archives import LATER

    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 20)
    monkeypatch.setattr(sealing, "SNAPSHOT_SHARE", 1000)
    log = MemoryLog()
    world = a_long_history(log, 30)
    sealer = a_sealer(log, tmp_path)
    sealer.look(LATER)
    before, newest = sealer.manifest.snapshots[-2:]
    (tmp_path / newest.name).write_bytes(b"nothing")
    words: list[str] = []
    through = archived(log, tmp_path)
    through.archive.complain = words.append
    state = through.snapshot()
    assert state is not None and state.position == before.position
    assert len(words) == 1 and newest.name in words[0] and "the one before it is used" in words[0]
    for each in sealer.manifest.snapshots:
        (tmp_path / each.name).unlink(missing_ok=True)
    assert through.snapshot() is None
    from events.replay import replay

    assert replay(through, log.last()).objects == world.state.objects
