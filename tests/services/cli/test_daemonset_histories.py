"""`rollout history` of a DaemonSet, whose status names no revision."""

from __future__ import annotations

from services.cli.rollouts import history_table
from services.commands.rollouts import history
from tests.services.controllers.fleets import Fleet, a_daemonset
from tests.services.controllers.rigs import NOON


def test_the_newest_revision_is_the_one_that_pods_are_to_be_at() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    fleet.set_image("fluentd:2")
    fleet.run()
    fleet.undo()
    shown = history_table(fleet.set, history(fleet, fleet.set), NOON).splitlines()
    assert [(line.split()[0], line.split()[2:4]) for line in shown[1:]] == [
        ("2", ["fluentd:2", "0s"]),
        ("3", ["fluentd:1", "update"]),
    ]
