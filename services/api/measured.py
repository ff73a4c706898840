"""The API's requests, counted and timed around the whole application."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.requests import Target
from services.metrics.measures import API_REQUESTS, API_SECONDS

_OTHER = "other"
"""What is no object: /version, /openapi/v3, a path that is none."""


def measured(application: ASGIApp) -> ASGIApp:
    """Return an application that answers as this one does, and counts each request by verb, resource and code."""

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        begun, code = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await application(scope, receive, sending)
        finally:
            _count(scope, code, time.perf_counter() - begun)

    return counted


def _count(scope: Scope, code: int, seconds: float) -> None:
    target = scope.get("state", {}).get("target")
    verb, resource = (target.verb, _resource(target)) if isinstance(target, Target) else (_OTHER, _OTHER)
    API_REQUESTS.labels(verb, resource, str(code)).inc()
    if verb != "watch":
        API_SECONDS.labels(verb).observe(seconds)


def _resource(target: Target) -> str:
    return f"{target.kind.resource}/{target.subresource}" if target.subresource else target.kind.resource
