"""Profiles: what a load test is to do, as a small YAML file. Some come along, by name; others are files of one's own.

    nodes: 50                        # simulated nodes
    statefulSets: {count: 100, replicas: 5, management: mixed}     # or parallel, ordered
    daemonSets: {count: 2}
    phases: [create, roll, scale, delete]
    churn: {seconds: 60, rollouts: 5, scales: 15, nodeDeaths: 0.1}    # each a second, while the sets live
    restarts: true                   # then kill each program and server, and see when it is back
    workers: [1, 2]                  # one run for each
    timeout: 10m                     # for each run

Everything may be left out. What is asked for is bounded, in time and in number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from schemas.errors import BadRequest
from services.loadtest.sets import Scenario

MOST_WORKERS, MOST_PODS, MOST_NODES = 64, 50_000, 5_000
MOST_SECONDS, MOST_RATE, MOST_DAEMONSETS = 3_600, 200.0, 100
PHASES = ("create", "roll", "scale", "delete")
_FOLDER = files("services.loadtest").joinpath("profiles")


@dataclass(frozen=True, slots=True)
class Churn:
    """What is done each second, and for how many; node deaths take a Node away, which comes back empty."""

    seconds: float = 0.0
    rollouts: float = 0.0
    scales: float = 0.0
    node_deaths: float = 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What a load test is to do. `timeout` (seconds) bounds all phases of a run together."""

    name: str
    nodes: int = 10
    sets: int = 20
    replicas: int = 5
    scenario: Scenario = Scenario.MIXED
    daemonsets: int = 0
    phases: tuple[str, ...] = PHASES
    churn: Churn = field(default_factory=Churn)
    restarts: bool = False
    workers: tuple[int, ...] = (1, 2)
    timeout: float = 300.0


def names() -> list[str]:
    """Return the names of the profiles that come along."""
    return sorted(
        each.name.removesuffix(".yaml") for each in _FOLDER.iterdir() if each.name.endswith(".yaml")
    )


def profile_of(name: str) -> Profile:
    """Return a profile by its name, or from a file. Raises BadRequest that names the field and what would do."""
    if name in names():
        return parsed(_FOLDER.joinpath(f"{name}.yaml").read_text(), name)
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise BadRequest(
            f"--profile: {name!r} is unknown; write a .yaml file, or one of {', '.join(names())}"
        )
    try:
        return parsed(path.read_text(), path.stem)
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"--profile: {name} cannot be read: {error}") from error


def parsed(text: str, name: str) -> Profile:
    """Return the profile that a text says. Raises BadRequest."""
    try:
        raw = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise BadRequest(f"profile {name}: is no YAML: {' '.join(str(error).split())}") from error
    reader = _Fields(f"profile {name}", raw)
    sets, daemons, churn = (reader.part(each) for each in ("statefulSets", "daemonSets", "churn"))
    found = Profile(
        name,
        nodes=reader.take("nodes", 10, whole(1, MOST_NODES)),
        sets=sets.take("count", 20, whole(0, MOST_PODS)),
        replicas=sets.take("replicas", 5, whole(1, MOST_PODS)),
        scenario=sets.take("management", Scenario.MIXED, _scenario),
        daemonsets=daemons.take("count", 0, whole(0, MOST_DAEMONSETS)),
        phases=reader.take("phases", PHASES, _phases),
        churn=Churn(
            seconds=churn.take("seconds", 0.0, number(0, MOST_SECONDS)),
            rollouts=churn.take("rollouts", 0.0, number(0, MOST_RATE)),
            scales=churn.take("scales", 0.0, number(0, MOST_RATE)),
            node_deaths=churn.take("nodeDeaths", 0.0, number(0, MOST_RATE)),
        ),
        restarts=reader.take("restarts", False, _yes_or_no),
        workers=reader.take("workers", (1, 2), _workers),
        timeout=reader.take("timeout", 300.0, _seconds),
    )
    for each in (reader, sets, daemons, churn):
        each.check_empty()
    return checked(found)


def checked(profile: Profile) -> Profile:
    """Return a profile that is not too large. Raises BadRequest."""
    pods = profile.sets * profile.replicas * 3 // 2 + profile.daemonsets * profile.nodes
    if pods > MOST_PODS:
        raise BadRequest(
            f"{pods} pods are too many (scaled up, DaemonSets included); at most {MOST_PODS} in all"
        )
    if not profile.sets and not profile.daemonsets:
        raise BadRequest("statefulSets.count, daemonSets.count: both are 0; ask for one set at least")
    return profile


Read = Callable[[Any], Any]
"""Returns the value that YAML's says. Raises ValueError with what would be accepted."""


def whole(least: int, most: int) -> Read:
    """Return a reader of whole numbers within bounds."""

    def read(value: Any) -> int:
        if type(value) is int and least <= value <= most:
            return value
        raise ValueError(f"a whole number from {least} to {most}")

    return read


def number(least: float, most: float) -> Read:
    """Return a reader of numbers within bounds."""

    def read(value: Any) -> float:
        if type(value) in (int, float) and least <= value <= most:
            return float(value)
        raise ValueError(f"a number from {least:g} to {most:g}")

    return read


def _yes_or_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def _scenario(value: Any) -> Scenario:
    if value in [each.value for each in Scenario]:
        return Scenario(value)
    raise ValueError(f"one of {', '.join(Scenario)}")


def _phases(value: Any) -> tuple[str, ...]:
    known = isinstance(value, list) and all(each in PHASES for each in value)
    if known and value[:1] == ["create"] and value == [each for each in PHASES if each in value]:
        return tuple(value)
    raise ValueError(f"a list of {', '.join(PHASES)}, in this order, beginning with create")


def _workers(value: Any) -> tuple[int, ...]:
    read = whole(1, MOST_WORKERS)
    if isinstance(value, list) and value:
        return tuple(read(each) for each in value)
    raise ValueError(f"a list of numbers from 1 to {MOST_WORKERS}, as [1, 2, 4]")


def _seconds(value: Any) -> float:
    text = str(value)
    digits, unit = text[:-1], {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    if unit and digits.isdecimal() and 0 < int(digits) * unit <= MOST_SECONDS:
        return float(int(digits) * unit)
    raise ValueError(f"a time up to {MOST_SECONDS}s, as 90s or 10m")


class _Fields:
    """A mapping that is read field by field; what nobody has read is a mistake."""

    def __init__(self, where: str, raw: Any) -> None:
        if not isinstance(raw, Mapping):
            raise BadRequest(f"{where}: {str(raw)[:40]!r} is no mapping; write fields and their values")
        self._where = where
        self._raw = dict(raw)
        self._known: list[str] = []

    def part(self, name: str) -> _Fields:
        self._known.append(name)
        return _Fields(f"{self._where}: {name}", self._raw.pop(name, {}))

    def take(self, name: str, default: Any, read: Read) -> Any:
        self._known.append(name)
        if name not in self._raw:
            return default
        value = self._raw.pop(name)
        try:
            return read(value)
        except ValueError as expected:
            raise BadRequest(f"{self._where}: {name}: {str(value)[:40]!r}: write {expected}") from None

    def check_empty(self) -> None:
        for name in self._raw:
            raise BadRequest(f"{self._where}: {str(name)[:40]!r} is unknown; write {', '.join(self._known)}")
