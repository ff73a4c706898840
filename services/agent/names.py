"""Hosts files: every name that a pod may call its peers by, with what it means now."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.objects import Object, name_of, namespace_of
from services.headless import DOMAIN, Record


def hosts_of(pod: Object, address: str, records: Iterable[Record], domain: str = DOMAIN) -> str:
    """Return the hosts file of `pod` at `address`: itself, and every record by each name that resolves there."""
    own, namespace = pod["spec"].get("hostname") or name_of(pod), namespace_of(pod)
    lines = ["127.0.0.1 localhost"]
    if address:
        subdomain = pod["spec"].get("subdomain")
        full = f"{own}.{subdomain}.{namespace}.svc.{domain} " if subdomain else ""
        lines.append(f"{address} {full}{own}")
    for record in records:
        service = _spellings(record.service, record.namespace, namespace, domain)
        pod_names = [f"{record.host}.{name}" for name in service] if record.host else []
        lines.append(f"{record.address} {' '.join(pod_names + service)}")
    return "\n".join(lines) + "\n"


def _spellings(service: str, namespace: str, seen_from: str, domain: str) -> list[str]:
    """Return the names by which a pod of the namespace `seen_from` may call a service (its search list)."""
    long = [f"{service}.{namespace}.svc.{domain}", f"{service}.{namespace}.svc", f"{service}.{namespace}"]
    return [*long, service] if namespace == seen_from else long
