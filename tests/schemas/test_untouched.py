"""A newer version's rules apply to what a request writes, and leave alone what it leaves alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from itertools import islice, product
from typing import Any

import pytest

from schemas import defaults
from schemas.canonical import canonical
from schemas.kinds import KINDS, Kind
from schemas.objects import Object
from schemas.patching import apply_merge_patch, strictly_equal
from schemas.validation import validate_update
from tests.schemas.manifests import a_container, a_daemonset, a_pod, a_statefulset, a_template, stored
from tests.schemas.test_any_shape import an_object_of

PROBE = {"httpGet": {"port": 80}}
LABEL = {"metadata": {"labels": {"team": "a"}}}


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Enter a version that fills in more: of a pod's spec, its containers and their probes, and of a claim."""
    yield monkeypatch
    monkeypatch.undo()


def upgrade(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(defaults._POD_SPEC, "hostUsers", True)
    patch.setitem(defaults._CONTAINER, "tty", True)
    patch.setitem(defaults._PROBE, "terminationGracePeriodSeconds", 7)
    patch.setitem(defaults._HTTP_GET, "host", "localhost")


def written(asked: Object, before: Object) -> Object:
    result = canonical(asked, "Ignore", stored=before)
    assert result.causes == ()
    return result.object


def a_set() -> Object:
    containers = [a_container(livenessProbe=PROBE), a_container(name="helper")]
    return stored(a_statefulset(template=a_template(containers=containers)))


def with_containers(workload: Object, *containers: Any) -> Object:
    """Return a workload with other containers: what a client PUTs, who keeps all else as it got it."""
    spec = {**workload["spec"]["template"]["spec"], "containers": list(containers)}
    template = {**workload["spec"]["template"], "spec": spec}
    return {**workload, "spec": {**workload["spec"], "template": template}}


def containers_of(workload: Object) -> Any:
    return workload["spec"]["template"]["spec"]["containers"]


@pytest.mark.parametrize("manifest", [a_statefulset(), a_daemonset(), a_pod()], ids=lambda each: each["kind"])
def test_a_label_changes_nothing_but_the_labels(manifest: Object, newer: pytest.MonkeyPatch) -> None:
    before = stored(manifest)
    upgrade(newer)
    assert not strictly_equal(stored(manifest), before)
    assert strictly_equal(
        written(apply_merge_patch(before, LABEL), before), before | apply_merge_patch(before, LABEL)
    )


def test_the_manifest_it_was_made_of_changes_nothing(newer: pytest.MonkeyPatch) -> None:
    """A PUT says all that is wanted, and nothing of what was filled in then, or would be now."""
    manifest = a_statefulset(template=a_template(containers=[a_container(livenessProbe=PROBE)]))
    before = stored(manifest)
    upgrade(newer)
    assert strictly_equal(written(manifest, before), before)


def test_another_spelling_of_what_is_stored_changes_nothing(newer: pytest.MonkeyPatch) -> None:
    limits = {"limits": {"cpu": "1"}}
    before = stored(a_statefulset(template=a_template(containers=[a_container(resources=limits)])))
    upgrade(newer)
    container = {
        **containers_of(before)[0],
        "resources": {"limits": {"cpu": "1000m"}},
        "tty": None,
        "env": [],
    }
    assert strictly_equal(written(with_containers(before, container), before), before)


def test_a_new_image_changes_the_image_only(newer: pytest.MonkeyPatch) -> None:
    before = a_set()
    upgrade(newer)
    first, second = containers_of(before)
    new = written(with_containers(before, {**first, "image": "db:6"}, second), before)
    assert strictly_equal(new, with_containers(before, {**first, "image": "db:6"}, second))


def test_a_container_that_is_added_gets_the_defaults_of_today_and_the_others_stay(
    newer: pytest.MonkeyPatch,
) -> None:
    before = a_set()
    upgrade(newer)
    first, second = containers_of(before)
    new = written(with_containers(before, a_container(name="new"), second, first), before)
    added, *others = containers_of(new)
    assert strictly_equal(others, [second, first])
    assert added == {**second, "name": "new", "tty": True}
    assert "hostUsers" not in new["spec"]["template"]["spec"]


def test_a_probe_that_is_added_gets_the_defaults_of_today(newer: pytest.MonkeyPatch) -> None:
    before = a_set()
    upgrade(newer)
    first, second = containers_of(before)
    new = written(with_containers(before, {**first, "startupProbe": PROBE}, second), before)
    old = first["livenessProbe"]
    today = {**old, "terminationGracePeriodSeconds": 7, "httpGet": {**old["httpGet"], "host": "localhost"}}
    assert strictly_equal(containers_of(new), [{**first, "startupProbe": today}, second])


def test_what_follows_from_what_is_written_is_filled_in(newer: pytest.MonkeyPatch) -> None:
    """Not all that a request does not name is untouched by it: one account has two names."""
    before = a_set()
    upgrade(newer)
    account = {"spec": {"template": {"spec": {"serviceAccountName": "db"}}}}
    new = written(apply_merge_patch(before, account), before)
    assert new["spec"]["template"]["spec"] == {
        **before["spec"]["template"]["spec"],
        "serviceAccountName": "db",
        "serviceAccount": "db",
    }


def test_a_default_that_is_written_out_is_stored(newer: pytest.MonkeyPatch) -> None:
    before = a_set()
    upgrade(newer)
    first, second = containers_of(before)
    wanted = with_containers(before, {**first, "tty": True}, second)
    assert strictly_equal(written(wanted, before), wanted)


def test_a_field_that_a_newer_version_no_longer_has_stays_until_somebody_removes_it() -> None:
    first, second = containers_of(a_set())
    before = with_containers(a_set(), {**first, "vanished": {"a": 1}}, second)
    assert strictly_equal(written(apply_merge_patch(before, LABEL), before)["spec"], before["spec"])
    newer_image = with_containers(before, {**containers_of(before)[0], "image": "db:6"}, second)
    assert strictly_equal(written(newer_image, before), newer_image)
    removed = with_containers(before, first, second)
    assert strictly_equal(written(removed, before), removed)


def changed(value: Any, other: Any, chance: random.Random) -> Any:
    """Return a value with some of its parts as in another, or left out."""
    if chance.random() < 0.1:
        return copy.deepcopy(other)
    if isinstance(value, dict) and isinstance(other, dict):
        names = [name for name in {**value, **other} if name not in value or chance.random() > 0.05]
        return {
            name: changed(value[name], other.get(name, value[name]), chance) if name in value else other[name]
            for name in names
        }
    if isinstance(value, list) and isinstance(other, list):
        pairs = zip(value, other, strict=False)
        return [changed(mine, theirs, chance) for mine, theirs in pairs] + value[len(other) :]
    return value


def pairs_of(kind: Kind) -> Iterator[tuple[Object, Object]]:
    """Yield objects of a kind as stored, each with one that is to take its place."""
    chance = random.Random(kind.kind)
    found = (canonical(an_object_of(kind, chance)) for _ in range(600))
    good = [*islice((each.object for each in found if not each.causes), 12)]
    for before, other, _ in product(good, good[:4], range(2)):
        asked = changed(before, other, chance) | {"apiVersion": kind.api_version, "kind": kind.kind}
        if not canonical(asked, "Ignore").causes:
            yield before, asked


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_where_the_rules_have_not_changed_it_is_as_if_there_were_nothing_stored(kind: Kind) -> None:
    pairs = [*pairs_of(kind)]
    assert len(pairs) > 10
    for before, asked in pairs:
        assert strictly_equal(written(asked, before), canonical(asked, "Ignore").object)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_what_is_the_very_object_stored_comes_to_what_its_copy_comes_to(kind: Kind) -> None:
    for before, asked in pairs_of(kind):
        for part in ("spec", "status"):
            shared = {**asked, part: before[part]} if part in before else asked
            if not canonical(shared, "Ignore").causes:
                assert strictly_equal(written(shared, before), written(copy.deepcopy(shared), before))


def test_a_null_is_nothing_where_nothing_is_stored() -> None:
    before = stored(a_pod())
    assert "status" not in before
    assert written({**before, "status": None}, before) == before


def test_a_status_is_written_beside_a_spec_that_today_would_be_warned_of_or_refused(
    newer: pytest.MonkeyPatch,
) -> None:
    before = stored(a_pod(containers=[a_container(name="Not-A-Label")], shareProcessNamespace=True))
    upgrade(newer)
    asked = {**before, "status": {"phase": "Running"}}
    found = canonical(asked, stored=before)
    assert (found.warnings, found.object) == ((), asked)
    assert found.object["spec"] is before["spec"]
    assert validate_update(before, found.object) == ()
    copied = copy.deepcopy(asked)
    assert canonical(copied, stored=before).warnings != ()
    assert [cause.field for cause in validate_update(before, copied)] == ["spec.containers[0].name"]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet", "Pod"])
def test_what_is_kept_as_it_is_means_by_the_rules_of_today_what_is_asked(
    kind: str, newer: pytest.MonkeyPatch
) -> None:
    pairs = [pair for each in KINDS if each.kind == kind for pair in pairs_of(each)]
    upgrade(newer)
    kept = [(written(asked, before), canonical(asked, "Ignore").object) for before, asked in pairs]
    assert len(kept) > 10 and any(not strictly_equal(new, complete) for new, complete in kept)
    for new, complete in kept:
        assert strictly_equal(canonical(new).object, complete)
