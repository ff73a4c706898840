"""apply, patch, scale, delete, rollout, pause on a real log: what they append and tell, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.positions import position_of
from tests.services.cli.conftest import CommandLine
from tests.services.cli.manifests import DB, SECRET, SET

IMAGE_PATCH = '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"mysql:5.7.23"}]'


def types_of(out: str) -> list[str]:
    """Return the event types in the table that a write prints."""
    return [line.split()[1] for line in out.splitlines() if line and line[0].isdigit()]


@pytest.fixture
def with_db(chronoset: CommandLine) -> CommandLine:
    applied = chronoset("apply", "-f", "-", stdin=DB)
    assert applied.code == 0, applied.err
    return chronoset


def test_apply_prints_position_type_key_and_actor_of_each_event(chronoset: CommandLine) -> None:
    result = chronoset("apply", "-f", "-", "--actor", "bob", stdin=DB)
    assert result.code == 0, result.err
    assert types_of(result.out) == ["ServiceCreated", "StatefulSetCreated", "ControllerRevisionCreated"]
    line = result.out.splitlines()[1].split()
    assert position_of(line[0]) > 0
    assert line[1:4] == ["ServiceCreated", "core/services/default/db", "user:bob"]
    assert line[4].startswith("(socket:")


def test_apply_of_what_is_there_says_unchanged_and_appends_nothing(with_db: CommandLine) -> None:
    before = with_db.end()
    result = with_db("apply", "-f", "-", stdin=DB)
    assert result.out.splitlines() == [
        "core/services/default/db unchanged",
        "apps/statefulsets/default/db unchanged",
    ]
    assert with_db.end() == before


def test_apply_reads_several_files_and_namespaces_made_by_an_earlier_document(
    chronoset: CommandLine, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_bytes(b"{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
    second.write_bytes(SET)
    result = chronoset("apply", "-f", str(first), "-f", str(second), "-n", "shop")
    assert result.code == 0, result.err
    assert result.out.count("POSITION") == 1, "all of it is one table"
    assert types_of(result.out) == ["NamespaceCreated", "StatefulSetCreated", "ControllerRevisionCreated"]
    end = str(chronoset.end())
    assert (
        chronoset("get", "sts", "-n", "shop", "-o", "name", "--at-least", end).out == "statefulset.apps/db\n"
    )


def test_a_repeated_command_id_prints_the_first_result_and_appends_nothing(chronoset: CommandLine) -> None:
    first = chronoset("apply", "-f", "-", "--command-id", "deploy-1", stdin=DB)
    before = chronoset.end()
    again = chronoset("apply", "-f", "-", "--command-id", "deploy-1", stdin=DB)
    assert (again.code, again.out) == (0, first.out), again.err
    assert "command deploy-1/2 was carried out before" in again.err
    other = chronoset(
        "apply", "-f", "-", "--command-id", "deploy-1", stdin=DB.replace(b"replicas: 3", b"replicas: 4")
    )
    assert other.code == 2 and "deploy-1/2 was used before with other content" in other.err
    assert chronoset.end() == before


def test_a_repeated_deletion_by_command_id_is_no_error(with_db: CommandLine) -> None:
    first = with_db("delete", "sts", "db", "--command-id", "gone", "-o", "json")
    again = with_db("delete", "sts", "db", "--command-id", "gone", "-o", "json")
    assert first.json["position"] == again.json["position"]
    assert (first.json["repeated"], again.json["repeated"]) == (False, True)
    assert with_db("delete", "sts", "db").code == 2


def test_the_json_patch_of_the_issue_sets_the_image(with_db: CommandLine) -> None:
    result = with_db("patch", "sts", "db", "--type", "json", "-p", IMAGE_PATCH)
    assert types_of(result.out) == ["StatefulSetTemplateChanged", "ControllerRevisionCreated"]
    found = with_db("get", "sts", "db", "-o", "json", "--at-least", result.out.split()[4])
    assert found.json["spec"]["template"]["spec"]["containers"][0]["image"] == "mysql:5.7.23"


def test_a_plain_patch_adds_a_container_and_keeps_the_others(with_db: CommandLine) -> None:
    patch = '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"side:1"}]}}}}'
    result = with_db("patch", "sts", "db", "-p", patch)
    found = with_db("get", "sts", "db", "-o", "json", "--at-least", result.out.split()[4])
    containers = found.json["spec"]["template"]["spec"]["containers"]
    assert [(each["name"], each["image"]) for each in containers] == [
        ("side", "side:1"),
        ("db", "mysql:5.7.2"),
    ]


def test_writes_one_after_the_other_each_see_the_one_before(with_db: CommandLine) -> None:
    for replicas in (5, 6, 7):
        assert types_of(with_db("scale", "sts/db", "--replicas", str(replicas)).out) == ["StatefulSetScaled"]
    result = with_db("scale", "sts", "db", "--replicas", "7", "-o", "json")
    assert (result.json["unchanged"], result.json["events"]) == (True, [])


def test_json_tells_programs_everything(with_db: CommandLine) -> None:
    told = with_db("scale", "sts/db", "--replicas", "5", "-o", "json", "--command-id", "x").json
    (event,) = told["events"]
    assert (told["command"], told["key"]) == ("x", "apps/statefulsets/default/db")
    assert (event["type"], event["position"]) == ("StatefulSetScaled", told["position"])
    assert event["body"]["spec"] == {"replicas": 5}
    assert event["claim"] == "user:alice"


def test_delete_waits_until_the_object_is_gone(with_db: CommandLine) -> None:
    result = with_db("delete", "sts", "db", "--wait")
    assert (result.code, types_of(result.out)) == (0, ["StatefulSetDeleted"])
    assert result.err == "apps/statefulsets/default/db: deleted\n"


def test_a_wait_that_is_too_long_says_what_is_missing(with_db: CommandLine) -> None:
    """No controller runs here, so nothing is ever rolled out."""
    result = with_db("scale", "sts/db", "--replicas", "4", "--wait", "--timeout", "0.1s")
    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        'error: statefulsets.apps "db" is not there yet after 0.1 s: '
        "waiting for the change to be observed by the controller"
    )


def test_several_objects_are_deleted_or_none(with_db: CommandLine) -> None:
    before = with_db.end()
    result = with_db("delete", "sts/db", "svc/nosuch")
    assert (result.code, result.err) == (2, 'error: services "nosuch" not found in namespace default\n')
    assert with_db.end() == before
    assert types_of(with_db("delete", "sts/db", "svc/db").out) == ["StatefulSetDeleted", "ServiceDeleted"]


def test_rollout_undo_history_restart_and_status(with_db: CommandLine) -> None:
    with_db("patch", "sts/db", "--type", "json", "-p", IMAGE_PATCH)
    assert types_of(with_db("rollout", "undo", "sts/db").out)[1] == "ControllerRevisionRenumbered"
    end = with_db("rollout", "restart", "sts/db", "-o", "json").json["position"]
    with_db("get", "sts", "--at-least", end)
    rows = [line.split() for line in with_db("rollout", "history", "sts/db").out.splitlines()[1:]]
    assert [(row[0], row[2]) for row in rows] == [
        ("2", "mysql:5.7.23"),
        ("3", "mysql:5.7.2"),
        ("4", "mysql:5.7.2"),
    ]
    assert "image: mysql:5.7.23" in with_db("rollout", "history", "sts/db", "--revision", "2").out
    assert with_db("rollout", "status", "sts/db", "--no-watch").out.startswith("waiting for the change")


def test_a_secret_is_sealed_in_the_log_and_open_to_its_owner(chronoset: CommandLine) -> None:
    told = chronoset("apply", "-f", "-", "-o", "json", stdin=SECRET)
    assert "c2VzYW1l" not in told.out
    chronoset("apply", "-f", "-", stdin=SECRET)
    shown = chronoset("get", "secret", "password", "-o", "json", "--at-least", told.json["position"])
    assert shown.json["data"] == {"word": "c2VzYW1l"}
    raw = b"".join(entry.data for entry in chronoset.log.read(0, 1000))
    assert b"c2VzYW1l" not in raw


def test_a_secret_applied_again_is_unchanged(chronoset: CommandLine) -> None:
    chronoset("apply", "-f", "-", stdin=SECRET)
    assert chronoset("apply", "-f", "-", stdin=SECRET).out == "core/secrets/default/password unchanged\n"


BAD_MANIFESTS = {
    "unknown field": (SET.replace(b"replicas:", b"replica:"), "spec.replica: unknown field"),
    "wrong type": (SET.replace(b"replicas: 3", b"replicas: three"), "spec.replicas"),
    "negative": (SET.replace(b"replicas: 3", b"replicas: -1"), "spec.replicas: Invalid value: -1"),
    "duplicate key": (SET + b"  replicas: 4\n", "written twice"),
    "no UTF-8": (b"\xff\xfe\xfa", "UTF-8"),
    "NaN": (SET.replace(b"replicas: 3", b"replicas: .nan"), ".nan"),
    "beyond 64 bits": (SET.replace(b"replicas: 3", b"replicas: 99999999999999999999"), "64 bits"),
    "key no string": (SET + b"  1: 2\n", "1"),
    "lone surrogate": (b'{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"\\ud800"}}', "surrogate"),
    "kind unknown": (b"{apiVersion: v1, kind: Pot, metadata: {name: x}}", "Pot"),
    "no name": (b"{apiVersion: v1, kind: Namespace, metadata: {}}", "metadata.name"),
    "empty": (b"", "holds no object"),
    "too large": (b"#" * (3 * 1024 * 1024 + 1), "3 MiB"),
    "anchor bomb": (
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(
            b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (n + 1, n + 1, *[n] * 9)
            for n in range(97, 108)
        ),
        "aliases repeat",
    ),
    "second document bad": (DB.replace(b"replicas: 3", b"replicas: -1"), "spec.replicas"),
    "version no number": (
        SET.replace(b"{name: db}\nspec", b"{name: db, resourceVersion: x}\nspec"),
        "resourceVersion",
    ),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_a_bad_manifest_is_answered_in_one_line_and_appends_nothing(
    chronoset: CommandLine, name: str
) -> None:
    manifest, words = BAD_MANIFESTS[name]
    before = chronoset.end()
    result = chronoset("apply", "-f", "-", stdin=manifest)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ") and result.err.count("\n") == 1
    assert words in result.err
    assert chronoset.end() == before


BAD_CALLS = [
    (["scale", "sts", "db", "--replicas", "-1"], "'--replicas': '-1' is no whole number from 0 on"),
    (["scale", "sts", "db", "--replicas", "3000000000"], "spec.replicas: Invalid value: 3000000000"),
    (["scale", "sts", "db"], "--replicas"),
    (["scale", "sts", "--replicas", "3"], "NAME: is missing; write sts NAME"),
    (["scale", "svc", "db", "--replicas", "3"], "has no replicas to scale"),
    (["scale", "sts", "nosuch", "--replicas", "3"], '"nosuch" not found in namespace default'),
    (["scale", "sts", "db", "--replicas", "3", "-n", "No"], "--namespace: 'No'"),
    (["patch", "sts", "db", "-p", "{"], "--patch"),
    (["patch", "sts", "db", "-p", "[1]"], "strategic merge patch: must be an object"),
    (["patch", "sts", "db", "--type", "merge", "-p", "[1]"], "a merge patch is an object"),
    (["patch", "sts", "db", "--type", "json", "-p", "{}"], "a list of operations"),
    (
        ["patch", "sts", "db", "--type", "strange", "-p", "{}"],
        "'strange' is not one of 'json', 'merge', 'strategic'",
    ),
    (["patch", "sts", "db", "-p", '{"spec":{"replicas":-1}}'], "spec.replicas: Invalid value: -1"),
    (["patch", "sts", "db", "-p", '{"spec":{"serviceName":"x"}}'], "spec: Forbidden"),
    (["patch", "sts", "db", "-p", '{"metadata":{"name":"x"}}'], "metadata.name: Invalid value: 'x'"),
    (
        ["delete", "sts", "db", "--cascade", "none"],
        "'none' is not one of 'background', 'foreground', 'orphan'",
    ),
    (["delete", "pot", "db"], "KIND: 'pot' is unknown; write one of sts"),
    (["delete", "sts/db", "db"], "'db' has no kind"),
    (["rollout", "undo", "sts", "db"], "there is no earlier revision"),
    (["rollout", "undo", "sts", "db", "--to-revision", "7"], "7 was never its revision; known are 1"),
    (["rollout", "undo", "svc", "db"], "has no rollout; name a statefulset or a daemonset"),
    (
        ["rollout", "history", "sts", "db", "--revision", "7"],
        "--revision: 7 is not in the history; there are 1",
    ),
    (["apply", "-f", "/no/such/file"], "--filename: '/no/such/file' cannot be read: No such file"),
    (["scale", "sts", "db", "--replicas", "1", "--command-id", "a b"], "--command-id: 'a b' is no id"),
    (["scale", "sts", "db", "--replicas", "1", "--actor", "\n"], "--actor"),
    (["scale", "sts", "db", "--replicas", "1", "--timeout", "soon"], "--timeout: 'soon' is no duration"),
    (["nosuch"], "No such command 'nosuch'"),
    (["get", "sts", "--nosuch"], "No such option"),
]


def test_bad_calls_are_answered_in_one_line_and_append_nothing(with_db: CommandLine) -> None:
    before = with_db.end()
    for arguments, words in BAD_CALLS:
        result = with_db(*arguments)
        assert (result.code, result.out) == (2, ""), arguments
        assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
        assert words in result.err, result.err
    assert with_db.end() == before


def test_a_read_only_log_refuses_writes_and_says_who_and_why(with_db: CommandLine) -> None:
    assert with_db("read-only", "on", "--reason", "a backup", "--actor", "bob").code == 0
    before = with_db.end()
    refused = with_db("scale", "sts", "db", "--replicas", "5")
    assert refused.code == 3
    assert "read-only by user:bob" in refused.err and "a backup" in refused.err
    assert with_db.end() == before
    assert with_db("read-only", "off").code == 0
    assert with_db("scale", "sts", "db", "--replicas", "5").code == 0
    assert with_db("read-only", "on", "--reason", "x" * 201).code == 2
