"""Runs a lifecycle hook: exec, httpGet or sleep (pkg/kubelet/lifecycle/handlers.go)."""

from __future__ import annotations

import time

from schemas.objects import Object
from services.agent.checks import Execute, run_check

POST_START_SECONDS = 3600.0
"""The longest that a postStart hook may take. Kubernetes knows no limit; one that hangs must not stay for ever."""


def hook_of(container: Object, name: str) -> Object | None:
    """Return the hook `postStart` or `preStop` of a container, or None."""
    found: Object | None = (container.get("lifecycle") or {}).get(name)
    return found or None


def run_hook(container: Object, hook: Object, address: str, execute: Execute, seconds: float) -> str:
    """Run a hook for at most `seconds`; return what went wrong, "" where nothing did."""
    if action := hook.get("sleep"):
        time.sleep(min(float(action.get("seconds") or 0), seconds))
        return ""
    if "tcpSocket" in hook:
        return "tcpSocket hooks are not supported; accepted are exec, httpGet and sleep"
    passed, message = run_check(container, {**hook, "timeoutSeconds": seconds}, address, execute)
    return "" if passed else message or "the hook failed"
