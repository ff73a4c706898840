"""A profile is a small file; a mistake in it is named, with what would do instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import BadRequest
from services.loadtest.churning import schedule
from services.loadtest.profiles import Churn, Profile, names, parsed, profile_of
from services.loadtest.sets import Scenario


def test_all_that_come_along_can_be_read() -> None:
    assert names() == ["churn", "default", "pools", "quick", "scale"]
    assert [profile_of(name).name for name in names()] == names()


def test_what_is_left_out_is_as_usual() -> None:
    assert parsed("", "mine") == Profile("mine")


def test_a_file_says_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "nodes: 7\nstatefulSets: {count: 3, replicas: 2, management: ordered}\ndaemonSets: {count: 1}\n"
        "phases: [create, scale]\nchurn: {seconds: 4, rollouts: 1, scales: 2.5, nodeDeaths: 0.5}\n"
        "restarts: true\nworkers: [1, 4]\ntimeout: 2m\n"
    )
    found = profile_of(str(path))
    assert found == Profile(
        "mine",
        nodes=7,
        sets=3,
        replicas=2,
        scenario=Scenario.ORDERED,
        daemonsets=1,
        phases=("create", "scale"),
        churn=Churn(4.0, 1.0, 2.5, 0.5),
        restarts=True,
        workers=(1, 4),
        timeout=120.0,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes: 0", "nodes: '0': write a whole number from 1 to 5000"),
        ("nodes: true", "nodes: 'True': write a whole number"),
        ("statefulSets: {count: many}", "statefulSets: count: 'many': write a whole number from 0 to 50000"),
        ("statefulSets: {management: any}", "management: 'any': write one of mixed, parallel, ordered"),
        ("statefulSets: [1]", "statefulSets: '[1]' is no mapping"),
        ("phases: [roll]", "phases: \"['roll']\": write a list of create, roll, scale, delete"),
        ("phases: [create, delete, roll]", "in this order"),
        ("churn: {seconds: 4000}", "seconds: '4000': write a number from 0 to 3600"),
        ("churn: {kills: 1}", "churn: 'kills' is unknown; write seconds, rollouts, scales, nodeDeaths"),
        ("restarts: often", "restarts: 'often': write true or false"),
        ("workers: []", "workers: '[]': write a list of numbers from 1 to 64"),
        ("timeout: 2 weeks", "timeout: '2 weeks': write a time up to 3600s, as 90s or 10m"),
        ("nodes: [", "is no YAML"),
        ("- a", "is no mapping"),
        ("pods: 3", "'pods' is unknown; write"),
        ("statefulSets: {count: 5000, replicas: 100}", "750000 pods are too many"),
        ("statefulSets: {count: 0}", "both are 0"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parsed(text, "mine")
    assert said in str(refused.value)


def test_an_unknown_name_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"write a .yaml file, or one of churn, default"):
        profile_of("fast")
    with pytest.raises(BadRequest, match="cannot be read"):
        profile_of(str(tmp_path / "none.yaml"))


def test_churn_is_spread_evenly_and_bounded() -> None:
    due = schedule(Churn(2.0, rollouts=1.0, scales=2.0))
    assert [(each.at, each.what) for each in due] == [
        (0.25, "scale"),
        (0.5, "roll"),
        (0.75, "scale"),
        (1.25, "scale"),
        (1.5, "roll"),
        (1.75, "scale"),
    ]
