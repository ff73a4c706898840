"""What is wrong with this machine, or with a cluster: each finding says what is so and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from schemas.errors import ChronosetError, NotFound
from services.doctor.cluster import cluster_findings
from services.doctor.findings import Finding, Level
from services.doctor.machine import MachineFacts, facts_of, machine_findings
from services.settings import Settings, joined

__all__ = ["Finding", "Level", "MachineFacts", "as_json", "examine"]


def examine(settings: Settings) -> list[Finding]:
    """Return what was found, the machine first, then the cluster that the settings lead to. Changes nothing.

    Never raises for what is wrong: that is a finding.
    """
    found = machine_findings(facts_of(settings))
    if sys.platform != "linux":
        found.append(Finding(Level.ERROR, f"this is {sys.platform}", "run Chronoset on Linux"))
    try:
        cluster = joined(settings)
    except NotFound as error:
        return [*found, Finding(Level.NOTE, str(error))]
    except ChronosetError as error:
        return [*found, Finding(Level.ERROR, str(error))]
    return found + cluster_findings(cluster)


def as_json(found: list[Finding]) -> list[Mapping[str, str]]:
    """Return the findings as plain values for `-o json`."""
    return [{"level": one.level.value, "what": one.what, "do": one.do} for one in found]
