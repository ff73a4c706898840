"""test/e2e/apps/controller_revision.go."""

from __future__ import annotations

import pytest
from kubernetes import client

from tests.e2e.conformance.sites import Site, a_daemon_set

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_the_life_of_a_revision(site: Site) -> None:
    """should manage the lifecycle of a ControllerRevision [Conformance]."""
    apps, space = site.apps, site.space
    labels = {"baz": "blah", "foo": "bar"}
    selector = "baz=blah"
    site.create_daemon(a_daemon_set("e2e"))
    site.wait_daemons(name="e2e")
    everywhere = apps.list_controller_revision_for_all_namespaces(label_selector=selector).items
    (initial,) = [each for each in everywhere if each.metadata.namespace == space]
    read = apps.read_namespaced_controller_revision(initial.metadata.name, space)
    assert read.metadata.uid == initial.metadata.uid and read.revision == 1
    assert [each.name for each in read.metadata.owner_references] == ["e2e"]

    patched = apps.patch_namespaced_controller_revision(
        initial.metadata.name, space, {"metadata": {"labels": {initial.metadata.name: "patched"}}}
    )
    assert patched.metadata.labels[initial.metadata.name] == "patched"

    another = client.V1ControllerRevision(
        metadata=client.V1ObjectMeta(
            name="another", labels=labels, owner_references=initial.metadata.owner_references
        ),
        data=initial.data,
        revision=initial.revision + 1,
    )
    apps.create_namespaced_controller_revision(space, another)
    assert _numbers(site) == {initial.metadata.name: 1, "another": 2}
    apps.delete_namespaced_controller_revision(initial.metadata.name, space)
    site.wait(lambda: len(_numbers(site)) == 1, "one revision")

    (name,) = _numbers(site)
    current = apps.read_namespaced_controller_revision(name, space)
    current.metadata.labels[name] = "updated"
    updated = apps.replace_namespaced_controller_revision(name, space, current)
    assert updated.metadata.labels[name] == "updated"

    template = {"spec": {"terminationGracePeriodSeconds": 2}}
    apps.patch_namespaced_daemon_set("e2e", space, {"spec": {"template": template}})
    site.wait(lambda: len(_numbers(site)) == 2, "another revision")
    site.wait_daemons(name="e2e")
    apps.delete_collection_namespaced_controller_revision(space, label_selector=f"{name}=updated")
    site.wait(lambda: list(_numbers(site).values()) == [max(_numbers(site).values())], "only the newest")
    assert name not in _numbers(site)


def test_the_data_of_a_revision_cannot_be_changed(site: Site) -> None:
    """ValidateControllerRevisionUpdate: what a rollback would write is what was."""
    site.create_daemon(a_daemon_set("e2e"))
    (name,) = site.wait(lambda: _numbers(site), "the revision")
    with pytest.raises(client.ApiException) as refused:
        site.apps.patch_namespaced_controller_revision(name, site.space, {"data": {"spec": {"a": "b"}}})
    assert refused.value.status == 422 and "field is immutable" in refused.value.body


def _numbers(site: Site) -> dict[str, int]:
    found = site.apps.list_namespaced_controller_revision(site.space).items
    return {each.metadata.name: each.revision for each in found}
