"""A log that was meddled with is found out, and the first position that is wrong is named."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from events.codec import Entry, decode
from events.snapshots import states_differ
from events.state import State
from schemas.changes import Create, Delete, Replace
from schemas.errors import Damaged
from schemas.objects import with_fields
from services.history.verification import Verifier
from tests.events.worlds import World, a_bare_pod, a_statefulset, with_image
from tests.goldens.test_golden_logs import DIGESTS
from tests.goldens.test_golden_logs import entries_of as golden_entries
from tests.services.projections.histories import History
from tests.walks.test_fleet_walks import walk as fleet_walk
from tests.walks.test_walks import walk

Log = list[Entry]
WEB = "apps/statefulsets/default/web"


def a_log() -> tuple[Log, int]:
    """Return the entries of a log, and its end: a set of two templates and back to the first, pods that come and go."""
    world = World()
    world.commit(Create(a_statefulset("web")), Create(a_bare_pod("web-0")), Create(a_bare_pod("web-1")))
    for image in ("web:2", "web:1"):
        found = world.get(WEB)
        assert found is not None
        world.commit(Replace(found, with_image(found, image)))
    pod = world.get("core/pods/default/web-1")
    assert pod is not None
    world.commit(Replace(pod, with_fields(pod, status={"phase": "Running", "podIP": "127.0.0.9"})))
    gone = world.get("core/pods/default/web-0")
    assert gone is not None
    world.commit(Delete(gone))
    world.commit(Create(a_bare_pod("web-0")))
    waiting = world.the("core/pods/default/web-0")
    world.commit(Replace(waiting, with_fields(waiting, spec={**waiting["spec"], "nodeName": "n1"})))
    entries = world.log.read(0, 1000)
    return entries, entries[-1].position


def verified(entries: Log, end: int, state: State | None = None) -> Verifier:
    verifier = Verifier(state)
    verifier.take(entries)
    verifier.end(end)
    return verifier


def with_data(entries: Log, index: int, change: Callable[[dict[str, Any]], object]) -> Log:
    """Return the log with the data of one entry edited."""
    entry = entries[index]
    data = msgpack.unpackb(entry.data)
    change(data)
    return [*entries[:index], entry._replace(data=msgpack.packb(data)), *entries[index + 1 :]]


def index_of(entries: Log, kind: str, nth: int = 0) -> int:
    return [index for index, entry in enumerate(entries) if entry.type == kind][nth]


def test_a_log_as_it_was_written_is_whole() -> None:
    entries, end = a_log()
    verifier = verified(entries, end)
    assert (verifier.events, verifier.derived) == (len(entries), 3)


def test_a_binding_may_have_raised_a_pods_generation_as_it_did_in_older_logs() -> None:
    entries, end = a_log()
    bound = index_of(entries, "PodBound")

    def bind_as_before(data: dict[str, Any]) -> None:
        data["body"]["metadata"] = {"generation": 2}

    verified(with_data(entries, bound, bind_as_before), end)
    with pytest.raises(Damaged, match="generation is 3 after 1"):
        verified(with_data(entries, bound, lambda data: data["body"].update(metadata={"generation": 3})), end)


def test_a_log_is_verified_from_a_position_on_without_what_was_before() -> None:
    entries, end = a_log()
    whole = verified(entries, end)
    index = index_of(entries, "PodStatusChanged")
    before = Verifier()
    before.take(entries[:index])
    later = verified(entries[index:], end, before.state)
    assert later.events == len(entries) - index
    assert states_differ(later.state, whole.state) == ""


@pytest.mark.parametrize("index", range(2, 12))
def test_a_dropped_entry_is_found_at_the_next(index: int) -> None:
    entries, end = a_log()
    with pytest.raises(Damaged) as found:
        verified([*entries[:index], *entries[index + 1 :]], end)
    following = entries[index + 1].position if index + 1 < len(entries) else entries[index - 1].position
    assert found.value.position == following


def test_a_dropped_entry_is_found_though_the_next_was_made_to_fit() -> None:
    """Where its object changes later; what was an object's last change is missed by the heads (`chronoset verify`)."""
    entries, end = a_log()
    index = index_of(entries, "PodDeleted")
    following = entries[index + 1]._replace(after=entries[index - 1].position)
    with pytest.raises(Damaged, match="exists already") as found:
        verified([*entries[:index], following, *entries[index + 2 :]], end)
    assert found.value.position == following.position


def test_truncation_is_found_by_where_the_log_ended() -> None:
    entries, end = a_log()
    with pytest.raises(Damaged, match="entries are missing"):
        verified(entries[:-1], end)
    middle = index_of(entries, "ControllerRevisionCreated", 1)
    with pytest.raises(Damaged, match="not whole"):
        verified(entries[:middle], entries[middle - 1].position)
    with pytest.raises(Damaged, match="before it is nothing"):
        verified(entries[1:], end)


def test_entries_in_another_order_are_found() -> None:
    entries, end = a_log()
    swapped = [*entries[:5], entries[6], entries[5], *entries[7:]]
    with pytest.raises(Damaged) as found:
        verified(swapped, end)
    assert found.value.position == entries[6].position
    contents = [
        *entries[:-2],
        entries[-2]._replace(key=entries[-1].key, type=entries[-1].type, data=entries[-1].data),
        entries[-1]._replace(key=entries[-2].key, type=entries[-2].type, data=entries[-2].data),
    ]
    with pytest.raises(Damaged) as exchanged:
        verified(contents, end)
    assert exchanged.value.position == entries[-2].position


def test_an_inserted_entry_is_found() -> None:
    entries, end = a_log()
    copy = entries[index_of(entries, "PodCreated", 2)]._replace(position=end + 1, after=end)
    with pytest.raises(Damaged, match="exists already") as found:
        verified([*entries, copy], end + 1)
    assert found.value.position == end + 1
    between = entries[4]._replace(position=entries[4].position + 1)
    with pytest.raises(Damaged):
        verified([*entries[:5], between, *entries[5:]], end)


EDITS: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "a uid": ("PodCreated", lambda data: data.update(uid="other")),
    "a uid inside": ("PodCreated", lambda data: data["body"]["metadata"].update(uid="other")),
    "a name inside": ("PodCreated", lambda data: data["body"]["metadata"].update(name="web-7")),
    "when it was created": (
        "PodCreated",
        lambda data: data["body"]["metadata"].update(creationTimestamp="2020-01-01T00:00:00Z"),
    ),
    "the writer's clock": ("PodStatusChanged", lambda data: data.update(at=data["at"] + 10**9)),
    "the predecessor": ("PodStatusChanged", lambda data: data.update(prev=data["prev"] - 1)),
    "the op": ("PodStatusChanged", lambda data: data.update(op="replace")),
    "a cause": ("ControllerRevisionCreated", lambda data: data.update(cause=-2)),
    "a cause that never was": ("PodStatusChanged", lambda data: data.update(cause=77 << 20)),
    "a later cause": ("PodStatusChanged", lambda data: data.update(cause=1 << 61)),
    "who derived": ("ControllerRevisionCreated", lambda data: data.update(actor=["user:mallory", "none"])),
    "whose guard": ("PodStatusChanged", lambda data: data.update(guard="guard/statefulset/x")),
    "the size of a batch": ("StatefulSetCreated", lambda data: data.update(n=2)),
    "the place in a batch": ("ControllerRevisionCreated", lambda data: data.update(i=0)),
    "the command of a part": ("ControllerRevisionCreated", lambda data: data.update(cmd="other")),
    "a template": (
        "StatefulSetCreated",
        lambda data: data["body"]["spec"]["template"]["spec"]["containers"][0].update(image="evil:1"),
    ),
    "a changed template": (
        "StatefulSetTemplateChanged",
        lambda data: data["body"]["spec"]["template"]["spec"]["containers"][0].update(image="evil:1"),
    ),
    "a revision's data": (
        "ControllerRevisionCreated",
        lambda data: data["body"]["data"]["spec"]["template"]["spec"]["containers"][0].update(image="evil:1"),
    ),
    "a revision's number": ("ControllerRevisionRenumbered", lambda data: data["body"].update(revision=7)),
    "that it was derived": ("ControllerRevisionCreated", lambda data: data.pop("rule")),
    "by which rule": ("ControllerRevisionCreated", lambda data: data.update(rule=99)),
    "a generation": ("StatefulSetTemplateChanged", lambda data: data["body"]["metadata"].update(generation=9)),
    "to what was so already": ("PodStatusChanged", lambda data: data["body"]["status"].update(phase="Pending")),
    "a version": ("PodStatusChanged", lambda data: data.update(v=9, min=9)),
    "beyond reading": ("PodStatusChanged", lambda data: data.clear()),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_is_found_where_it_was_made(what: str) -> None:
    kind, change = EDITS[what]
    entries, end = a_log()
    index = index_of(entries, kind)
    edited = with_data(entries, index, change)
    with pytest.raises(Damaged) as found:
        verified(edited, end)
    named = found.value.position
    event = decode(entries[index])
    batch = range(entries[index].position - event.offset, event.resource_version + 1)
    assert named in batch, str(found.value)


@pytest.mark.parametrize(
    ("part", "value"), [("key", "core/pods/default/other"), ("type", "NodeCreated"), ("type", "PodDeleted")]
)
def test_an_edit_of_what_can_be_read_without_decoding_is_found(part: str, value: str) -> None:
    entries, end = a_log()
    index = index_of(entries, "PodCreated", 1)
    edited = entries[index]._replace(**{part: value})
    with pytest.raises(Damaged) as found:
        verified([*entries[:index], edited, *entries[index + 1 :]], end)
    assert found.value.position == entries[index].position


def test_states_that_differ_say_in_what() -> None:
    entries, end = a_log()
    one, other = verified(entries, end).state, verified(entries, end).state
    assert states_differ(one, other) == ""
    other.ever_ready.add("somebody")
    assert states_differ(one, other) == "ever_ready"
    other.objects[WEB] = with_fields(other.objects[WEB], spec={})
    assert states_differ(one, other) == WEB


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_a_log_of_every_released_format_passes(version: int) -> None:
    entries = golden_entries(version)
    assert verified(entries, entries[-1].position).events == len(entries)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 6))])
def test_what_a_control_plane_writes_on_a_random_walk_passes(seed: int) -> None:
    """With lost hints, racing workers, failing pods, nodes that come and go: whatever is committed is sound."""
    logs = (walk(seed).log, fleet_walk(seed)[0].log, scribbled(seed).log)
    for log in logs:
        verifier = verified(log.read(0, 100_000), log.last())
        assert verifier.derived > 0


def scribbled(seed: int) -> History:
    history = History()
    history.begin()
    history.scribble(random.Random(seed), 60)
    return history
