"""Budgets and the pods under them, for tests."""

from __future__ import annotations

from typing import Any

from schemas.objects import Object
from tests.builders import a_pod, a_reference, an_object
from tests.services.controllers.settling import NOW

SELECTOR = {"matchLabels": {"app": "db"}}


def a_budget(
    name: str = "db", status: dict[str, Any] | None = None, generation: int = 1, **spec: Any
) -> Object:
    """A budget for the pods labelled app=db."""
    return an_object(
        "PodDisruptionBudget",
        name,
        "default",
        "policy/v1",
        metadata={"generation": generation},
        spec={"selector": SELECTOR, **spec},
        **({"status": status} if status else {}),
    )


def a_set(replicas: int = 3, name: str = "db") -> Object:
    return an_object("StatefulSet", name, "default", "apps/v1", spec={"replicas": replicas}, status={})


def a_db(number: int = 0, owner: Object | None = None, ready: bool = True, **metadata: Any) -> Object:
    """A running pod labelled app=db."""
    references = {"ownerReferences": [a_reference(owner)]} if owner else {}
    pod = a_pod(
        f"db-{number}",
        node="n1",
        phase="Running",
        metadata={
            "labels": {"app": "db"},
            "creationTimestamp": "2025-12-01T00:00:00Z",
            **references,
            **metadata,
        },
    )
    pod["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]
    return pod


__all__ = ["NOW", "SELECTOR", "a_budget", "a_db", "a_set"]
