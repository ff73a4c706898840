"""Which pods a drain takes: a table of what a pod is and what the drain was told it may do."""

from __future__ import annotations

import pytest

from schemas.objects import Object, name_of
from schemas.selectors import parse_selector
from services.commands.drains import Permissions, Sorted, sort_out
from tests.builders import a_controller, a_pod, a_state, an_object
from tests.services.commands.worlds import Known

SET = a_controller("web")
DAEMONS = an_object("DaemonSet", "log", "default", "apps/v1")
CACHE = [{"name": "cache", "emptyDir": {}}]
REPLICA = a_pod("web-0", "n1", SET, phase="Running")
DAEMON = a_pod("log-x", "n1", DAEMONS, phase="Running")
CACHED = a_pod("web-1", "n1", SET, phase="Running", volumes=CACHE)
BARE = a_pod("bare", "n1", phase="Running", volumes=CACHE)


def sorted_out(given: Permissions, *pods: Object, known: bool = True) -> Sorted:
    return sort_out(pods, given, Known(a_state(*([DAEMONS] if known else []))))


@pytest.mark.parametrize(
    ("pod", "refusal", "given", "goes", "warning"),
    [
        (
            DAEMON,
            "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): default/log-x",
            Permissions(ignores_daemonsets=True),
            False,
            "ignoring DaemonSet-managed Pods: default/log-x",
        ),
        (
            CACHED,
            "cannot delete Pods with local storage (use --delete-emptydir-data to override): default/web-1",
            Permissions(deletes_local_data=True),
            True,
            "deleting Pods with local storage: default/web-1",
        ),
        (
            a_pod("bare", "n1", phase="Running"),
            "cannot delete Pods that declare no controller (use --force to override): default/bare",
            Permissions(force=True),
            True,
            "deleting Pods that declare no controller: default/bare",
        ),
    ],
)
def test_a_pod_that_would_be_lost_is_refused_until_it_is_permitted(
    pod: Object, refusal: str, given: Permissions, goes: bool, warning: str
) -> None:
    assert sorted_out(Permissions(), pod, REPLICA) == Sorted((REPLICA,), (), (refusal,))

    found = sorted_out(given, pod)

    assert found == Sorted((pod,) if goes else (), (warning,), ())


def test_each_permission_counts_for_itself() -> None:
    assert sorted_out(Permissions(force=True), BARE).going == ()
    assert sorted_out(Permissions(deletes_local_data=True), BARE).going == ()

    both = sorted_out(Permissions(force=True, deletes_local_data=True), BARE)

    assert both.going == (BARE,) and len(both.warnings) == 2


def test_pods_that_have_ended_go_without_a_word() -> None:
    ended = [{**pod, "status": {"phase": "Failed"}} for pod in (DAEMON, CACHED, BARE)]

    assert len(sorted_out(Permissions(), *ended).going) == 3


def test_a_daemon_whose_set_is_gone_goes_by_force_only() -> None:
    refused = sorted_out(Permissions(ignores_daemonsets=True), DAEMON, known=False)
    forced = sorted_out(Permissions(force=True), DAEMON, known=False)

    assert refused.going == () and 'daemonsets.apps "log" not found' in refused.refusals[0]
    assert forced.going == (DAEMON,)


def test_only_pods_that_are_selected_are_spoken_of() -> None:
    labelled = a_pod("a", "n1", SET, metadata={"labels": {"app": "a"}})

    found = sorted_out(Permissions(pods=parse_selector("app=a")), labelled, DAEMON, BARE)

    assert list(map(name_of, found.going)) == ["a"] and found.refusals == found.warnings == ()
