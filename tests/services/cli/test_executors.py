"""One contract for both who carry commands out: on the log, and by asking an API; and what the API adds."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from events.codec import decode
from events.commit import Edges
from events.memory import MemoryLog, wall_clock
from events.replay import replay
from events.replica import Replica
from schemas.envelopes import Actor, Event
from schemas.errors import (
    BadRequest,
    ChronosetError,
    CommandReused,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PatchFailed,
    PreconditionFailed,
    Unauthorized,
    Unavailable,
)
from schemas.objects import Object
from schemas.positions import Position
from services.api.identity.bindings import MASTERS
from services.api.identity.policies import policy_over
from services.api.identity.tokens import BOOTSTRAPPERS, new_token, secret_of
from services.api.node_leases import PLACE
from services.api.program import Parts
from services.api.seams import Policy
from services.bootstrap import prepare_log
from services.cli.executors import ApiExecutor, SafeExecutor, Server, server_in
from services.command_protocol import PATH
from services.commands.commands import (
    Apply,
    Command,
    Cordon,
    Delete,
    Evict,
    Patch,
    Restart,
    Revert,
    Scale,
    Switch,
    Taint,
    Undo,
)
from services.commands.execution import Executor, LogExecutor, Outcome
from tests.services.api.apis import served
from tests.services.api.identity.users import World as Users
from tests.services.commands.worlds import ALICE, DB, a_manifest

NODE = "core/nodes/n1"
POD = "core/pods/default/tool"
IMAGE = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "mysql:5.7.23"}]
AT_COMMIT = 'namespaces "shop" not found'
"""What only a commit finds out."""
NUMBERS = itertools.count(1)
BLUE = (("key", "team"), ("value", "blue"), ("effect", "NoSchedule"))


def of_kind(kind: str, name: str, **fields: Any) -> Object:
    """An object without a namespace."""
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields}


def a_pod() -> Object:
    metadata = {"name": "tool", "namespace": "default"}
    spec = {"containers": [{"name": "main", "image": "tool:1"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


class Kept:
    """A log as what a command is decided upon: as it is now, and every revision that it ever had."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.catch_up(log.last())

    def catch_up(self, position: Position) -> None:
        self._state = replay(self._log, position)

    def wait_for(self, position: Position, _timeout: float) -> bool:
        self.catch_up(position)
        return True

    def get(self, key: str) -> Object | None:
        return self._state.get(key)

    def list(self, resource: str, namespace: str = "") -> Any:
        return self._state.list(resource, namespace)

    def related(self, resource: str, namespace: str, uid: str) -> Any:
        return self._state.related(resource, namespace, uid)

    def unseal(self, obj: Object) -> Object:
        return obj

    def kept_revisions(self, uid: str) -> Any:
        made = [each.body for each in events_of(self._log) if each.type == "ControllerRevisionCreated"]
        mine = [each for each in made if each and each["metadata"]["ownerReferences"][0]["uid"] == uid]
        return sorted(mine, key=lambda revision: int(revision["revision"]))

    def kept_revision(self, uid: str, number: int) -> Object | None:
        return next((each for each in self.kept_revisions(uid) if each["revision"] == number), None)


def events_of(log: MemoryLog) -> list[Event]:
    return [decode(entry) for entry in log.read(0, 10_000)]


@dataclass
class Side:
    """One way to carry commands out, and the log that they come to."""

    executor: Executor
    log: MemoryLog

    def run(self, command: Command, command_id: str = "") -> Outcome:
        return self.executor.execute(command, ALICE, command_id or f"c{next(NUMBERS)}")

    def types(self, command: Command, command_id: str = "") -> list[str]:
        return [event.type for event in self.run(command, command_id).committed.events]


@contextmanager
def users_of(log: MemoryLog) -> Iterator[Users]:
    """An API that knows its users, and what the log ever knew of revisions."""

    async def leases(*_: object) -> Response:
        return Response()

    def policy(replica: Replica) -> Policy:
        found = policy_over(replica, unseal=lambda obj: obj, clock=wall_clock)
        return replace(found, places={PLACE: leases})

    parts = Parts(lambda: log, Edges(), lambda obj: obj, policy, revisions=partial(Kept, log))
    with served(parts, log) as api:
        users = Users(api)
        users.token("root", (MASTERS,))
        yield users


def server_for(users: Users, token: str) -> Server:
    return Server(str(users.api.client.base_url), None, {"Authorization": f"Bearer {token}"})


def as_user(users: Users, token: str) -> ApiExecutor:
    return ApiExecutor(server_for(users, token))


def on_log(log: MemoryLog) -> LogExecutor:
    kept = Kept(log)
    return LogExecutor(log, kept, kept.catch_up)


@pytest.fixture(scope="module")
def users() -> Iterator[Users]:
    with users_of(MemoryLog()) as found:
        found.token("viewer", role="view")
        found.token("editor", role="edit", namespace="default")
        found.token("system:node:n9", ("system:nodes",))
        yield found


@pytest.fixture(params=["log", "api"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    log = MemoryLog()
    if request.param == "log":
        prepare_log(log, tmp_path)
        yield Side(on_log(log), log)
        return
    with users_of(log) as users, closing(as_user(users, users.token("root"))) as executor:
        yield Side(executor, log)


def test_every_command_comes_to_the_same_events(side: Side) -> None:
    """In this order on one log; an empty list is a command that changes nothing."""
    steps: list[tuple[Command, list[str]]] = [
        (Apply(a_manifest()), ["StatefulSetCreated", "ControllerRevisionCreated"]),
        (Apply(a_manifest()), []),
        (Scale(DB, 5), ["StatefulSetScaled"]),
        (Patch(DB, "json", IMAGE), ["StatefulSetTemplateChanged", "ControllerRevisionCreated"]),
        (Undo(DB), ["StatefulSetTemplateChanged", "ControllerRevisionRenumbered"]),
        (Restart(DB), ["StatefulSetTemplateChanged", "ControllerRevisionCreated"]),
        (Apply(of_kind("Node", "n1")), ["NodeCreated"]),
        (Cordon(NODE, True), ["NodeSpecChanged"]),
        (Cordon(NODE, True), []),
        (Taint(NODE, (BLUE,)), ["NodeSpecChanged"]),
        (Switch(("statefulset",), True), ["ConfigMapCreated"]),
        (Switch(("statefulset",), False), ["ConfigMapChanged"]),
        (Apply(a_pod()), ["PodCreated"]),
        (Evict(POD), ["PodDeleted"]),
        (Delete(DB, "orphan"), ["StatefulSetDeletionRequested"]),
    ]
    for command, types in steps:
        assert (command, side.types(command)) == (command, types)


REFUSALS: list[tuple[Command, type[ChronosetError], str]] = [
    (Scale("apps/statefulsets/default/web", 1), NotFound, '"web" not found in namespace default'),
    (Scale(NODE, 1), BadRequest, "has no replicas to scale"),
    (Scale(DB, -1), Invalid, "spec.replicas: Invalid value: -1"),
    (Patch(DB, "json", [{"op": "remove", "path": "/spec/x"}]), PatchFailed, "/spec/x"),
    (Patch(DB, "json", {"op": "remove"}), BadRequest, ""),
    (Patch(DB, "merge", {"spec": {"replicas": "x"}}), Invalid, "spec.replicas"),
    (Patch(DB, "merge", {"metadata": {"name": "web"}}), Invalid, "field is immutable"),
    (Undo(DB, 99), BadRequest, "--to-revision: 99 was never its revision; known are 1"),
    (Restart(NODE), BadRequest, "has no rollout"),
    (Taint(NODE, removed=(("team", ""),)), BadRequest, "taint 'team' not found"),
    (Evict(DB), BadRequest, "is no pod"),
    (Evict(POD, uid="another"), PreconditionFailed, "UID in precondition: another"),
    (Delete("core/namespaces/default"), Forbidden, "this namespace may not be deleted"),
    (Apply(a_manifest(name="web") | {"metadata": {"name": "web", "namespace": "shop"}}), NotFound, AT_COMMIT),
    (
        Apply({**a_pod(), "metadata": {**a_pod()["metadata"], "resourceVersion": "7"}}),
        Conflict,
        "has changed",
    ),
]


def test_every_refusal_is_the_same_error_in_the_same_words(side: Side) -> None:
    for command in (Apply(a_manifest()), Apply(of_kind("Node", "n1")), Apply(a_pod())):
        side.run(command)
    before = side.log.last()
    for command, kind, words in REFUSALS:
        for carry_out in (side.executor.execute, side.executor.check):
            if carry_out == side.executor.check and words == AT_COMMIT:
                continue
            with pytest.raises(kind) as caught:
                carry_out(command, ALICE, f"refused-{next(NUMBERS)}")
            assert type(caught.value) is kind
            assert words in str(caught.value)
    assert side.log.last() == before


def test_a_command_that_is_only_looked_at_appends_nothing(side: Side) -> None:
    before = side.log.last()
    side.executor.check(Apply(a_manifest()), ALICE, "c1")
    assert side.log.last() == before


def test_a_repeated_id_gives_the_first_result_and_another_wish_under_it_is_refused(side: Side) -> None:
    side.run(Apply(a_manifest()))
    first = side.run(Scale(DB, 5), "once").committed
    side.run(Scale(DB, 7))
    again = side.run(Scale(DB, 5), "once").committed
    assert again.appended == replace(first.appended, repeated=True)
    assert [each._replace(after=0) for each in again.events] == list(first.events)
    side.run(Delete(DB), "gone")
    assert side.run(Delete(DB), "gone").committed.appended.repeated
    side.executor.check(Delete(DB), ALICE, "gone")
    with pytest.raises(CommandReused, match="once was used before with other content"):
        side.run(Scale(DB, 6), "once")


def test_one_may_go_back_to_a_revision_that_history_has_truncated(side: Side) -> None:
    side.run(Apply(a_manifest()))
    side.run(Patch(DB, "json", IMAGE))
    (first,) = [
        each
        for each in replay(side.log, side.log.last()).list("apps/controllerrevisions")
        if each["revision"] == 1
    ]
    then = replay(side.log, side.log.last()).get(DB)
    side.run(Delete(f"apps/controllerrevisions/default/{first['metadata']['name']}"))
    assert side.types(Undo(DB, 1)) == ["StatefulSetTemplateChanged", "ControllerRevisionCreated"]
    assert then is not None
    assert side.types(Revert(DB, then)) == ["StatefulSetTemplateChanged", "ControllerRevisionRenumbered"]


def test_warnings_come_along(side: Side) -> None:
    manifest = a_manifest()
    manifest["spec"]["replica"] = 3
    assert any("replica" in warning for warning in side.run(Apply(manifest, "Warn")).warnings)


def test_of_many_who_scale_one_set_at_once_each_is_heard(users: Users) -> None:
    with closing(as_user(users, users.token("editor"))) as executor:
        executor.execute(Apply(a_manifest(name="busy")), ALICE, "busy")

    def scale(number: int) -> int:
        with closing(as_user(users, users.token("editor"))) as executor:
            command = Scale("apps/statefulsets/default/busy", number)
            return len(executor.execute(command, ALICE, f"busy-{number}").committed.events)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(scale, range(10, 30))) == [1] * 20


def test_over_the_api_the_event_says_who_wrote_by_what_name_from_where_and_with_what(users: Users) -> None:
    with closing(as_user(users, users.token("editor"))) as executor:
        done = executor.execute(Apply(a_manifest(name="who")), ALICE, "request-1")
    event = done.committed.events[0]
    assert event == events_of(users.api.log)[-2]._replace(after=0)
    assert event.actor == Actor("user:editor", "token", "user:alice")
    assert (event.command, event.origin.address) == ("request-1", "127.0.0.1")
    assert event.origin.agent.startswith("chronoset/1 (")
    assert event.origin.groups == ("system:authenticated",)
    assert done.committed.events[1].actor.name == "controller:statefulset"


def test_who_goes_by_the_name_that_he_is_known_by_claims_nothing(users: Users) -> None:
    with closing(as_user(users, users.token("editor"))) as executor:
        done = executor.execute(Apply(a_manifest(name="own")), Actor("", "", "user:editor"), "own-1")
    assert done.committed.events[0].actor == Actor("user:editor", "token")


@pytest.mark.parametrize(
    ("user", "command", "told"),
    [
        (
            "viewer",
            Scale(DB, 2),
            'User "viewer" cannot patch resource "statefulsets/scale" in API group "apps"',
        ),
        ("viewer", Apply(a_manifest()), 'cannot patch resource "statefulsets"'),
        ("viewer", Delete(DB), 'cannot delete resource "statefulsets"'),
        ("viewer", Evict(POD), 'cannot create resource "pods/eviction"'),
        ("viewer", Switch(("statefulset",), True), 'cannot patch resource "configmaps"'),
        ("editor", Cordon(NODE, True), 'cannot patch resource "nodes" in API group "" at the cluster scope'),
        ("editor", Delete("apps/statefulsets/shop/db"), 'in the namespace "shop"'),
        ("editor", Switch(("statefulset",), True), 'in the namespace "kube-system"'),
        ("system:node:n9", Delete(POD), 'node "system:node:n9" can only delete pods'),
        ("system:node:n9", Taint("core/nodes/n9", (BLUE,)), "is not allowed to modify taints"),
        ("system:node:n9", Cordon(NODE, True), 'is not allowed to modify node "n1"'),
    ],
)
def test_one_may_no_more_than_by_kubectl(users: Users, user: str, command: Command, told: str) -> None:
    """Whether the object is there or not, and whether the command is carried out or only looked at."""
    master = as_user(users, users.token("root"))
    for there in (
        Apply(a_manifest()),
        Apply(a_pod()),
        Apply(of_kind("Node", "n1")),
        Apply(of_kind("Node", "n9")),
    ):
        master.execute(there, ALICE, f"there-{next(NUMBERS)}")
    before = users.api.log.last()
    with closing(as_user(users, users.token(user))) as executor:
        for carry_out in (executor.execute, executor.check):
            with pytest.raises(Forbidden) as caught:
                carry_out(command, ALICE, "refused")
            assert told.replace("system:node:", "") in str(caught.value).replace("system:node:", "")
    assert users.api.log.last() == before
    master.close()


def test_nobody_makes_tokens_but_a_master(users: Users) -> None:
    users.token("secretary", role="edit", namespace="kube-system")
    secret = secret_of(new_token(), "root", (BOOTSTRAPPERS,), 0)
    with (
        closing(as_user(users, users.token("secretary"))) as executor,
        pytest.raises(Forbidden, match="tokens"),
    ):
        executor.execute(Apply(secret), ALICE, "escalate")


def test_leases_of_nodes_are_heartbeats_by_every_way(users: Users) -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "n9", "namespace": "kube-node-lease"},
    }
    with (
        closing(as_user(users, users.token("system:node:n9"))) as executor,
        pytest.raises(BadRequest, match="are no objects of the log"),
    ):
        executor.execute(Apply(lease), ALICE, "lease")


def test_a_stranger_is_told_so_and_not_helped_past_the_api(users: Users) -> None:
    with closing(as_user(users, new_token())) as api, pytest.raises(Unauthorized):
        SafeExecutor(api, lambda: pytest.fail("the log was written")).execute(Scale(DB, 2), ALICE, "stranger")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "id: write 1 to 210"),
        ({"id": "a b", "claim": "", "check": False}, "id: write 1 to 210"),
        ({"id": "x", "claim": 5, "check": False}, "claim: write at most"),
        ({"id": "x", "claim": "node:n1", "check": False}, "claim: 'node:n1' is no person's"),
        ({"id": "x", "claim": "", "check": "no"}, "check: write true or false"),
        ({"id": "x", "claim": "", "check": False, "command": "Explode"}, "command: 'Explode' is unknown"),
        ([], "a command is an object"),
    ],
)
def test_what_is_no_command_is_refused_with_a_status(users: Users, content: Any, told: str) -> None:
    code, status = users.ask("root", "POST", PATH, content)
    assert (code, status["kind"], status["reason"]) == (400, "Status", "BadRequest")
    assert told in status["message"]


def test_it_is_asked_by_post_by_those_who_are_known_and_in_the_present(users: Users) -> None:
    assert users.ask("root", "GET", PATH)[0] == 405
    assert users.api.ask("POST", PATH, {}).status_code == 401
    assert users.ask("root", "POST", f"/at/2026-01-01T00:00:00Z{PATH}", {})[0] == 405


def another_server(answer: bytes) -> tuple[str, Callable[[], None]]:
    """A server that answers anything with these bytes and hangs up; with none it only listens."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def end() -> None:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()

    return f"http://127.0.0.1:{listening.getsockname()[1]}", end


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 404 Not Found\r\nContent-Length: 17\r\n\r\n{"message": "no"}',
        b'HTTP/1.1 503 Away\r\nContent-Length: 19\r\n\r\n{"message": "away"}',
        b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n[]",
    ],
)
def test_where_no_api_answers_the_log_is_written_and_that_is_said(
    answer: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = MemoryLog()
    prepare_log(log, tmp_path)
    url, end = another_server(answer)
    executor = SafeExecutor(ApiExecutor(Server(url, None, {})), lambda: on_log(log))
    try:
        done = executor.execute(Apply(a_manifest()), ALICE, "c1")
    finally:
        end()
    assert done.committed.events[0].actor == ALICE
    told = capsys.readouterr().err
    assert url in told or "carries no commands out" in told
    assert told.endswith("the log was written directly\n")
    executor.execute(Scale(DB, 5), ALICE, "c2")
    assert capsys.readouterr().err == ""


def test_a_command_whose_answer_was_lost_is_carried_out_once(tmp_path: Path) -> None:
    """The API carries it out and does not come to say so: the log knows it by its id."""

    class Deaf(ApiExecutor):
        """Asks, and does not hear the answer."""

        def execute(self, command: Command, actor: Actor, command_id: str) -> Outcome:
            super().execute(command, actor, command_id)
            raise Unavailable("the answer was lost")

    log = MemoryLog()
    with users_of(log) as users, closing(Deaf(server_for(users, users.token("root")))) as api:
        done = SafeExecutor(api, lambda: on_log(log)).execute(Apply(a_manifest()), ALICE, "c1")
    assert done.committed.appended.repeated
    assert done.committed.events[0].actor.name == "user:root"
    assert [each.type for each in events_of(log)].count("StatefulSetCreated") == 1


def test_a_kept_connection_that_has_ended_is_made_anew(users: Users) -> None:
    with closing(as_user(users, users.token("editor"))) as executor:
        executor.execute(Apply(a_manifest(name="kept")), ALICE, "kept-1")
        assert executor._connection is not None and executor._connection.sock is not None
        executor._connection.sock.shutdown(socket.SHUT_RDWR)
        assert executor.execute(Scale("apps/statefulsets/default/kept", 7), ALICE, "kept-2").committed.events


def test_where_the_log_itself_does_not_answer_either_that_is_the_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def nowhere() -> ApiExecutor:
        return ApiExecutor(Server("http://127.0.0.1:1", None, {}))

    executor = SafeExecutor(nowhere(), nowhere)
    for carry_out in (executor.check, executor.execute):
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 does not answer"):
            carry_out(Scale(DB, 1), ALICE, "c")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it is no kubeconfig"),
        ("[]", "it is no kubeconfig"),
        ("apiVersion: v1", "it has no 'contexts'"),
        ("a: [", "while parsing"),
        (None, "No such file or directory"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_refused_with_the_reason(
    content: str | None, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "bob.kubeconfig"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadRequest, match=f"^CHRONOSET_KUBECONFIG: '{path}' cannot be used: {why}"):
        server_in(path)
