"""PodDisruptionBudgets: how many pods people and their tools may evict now.

    budgets     which pods a budget counts, how it stands, and what its status says of that
    reconcile   the controller, which keeps the status up to date

An eviction (services.commands.evictions) counts for itself with `budgets`, and charges the budget in the same batch.
"""

from __future__ import annotations

from services.controllers.disruption.reconcile import DISRUPTION

__all__ = ["DISRUPTION"]
