"""What a name server answers: the records of headless services as a table (the DNS specification of Kubernetes).

`<pod>.<service>.<namespace>.svc.<domain>` is the pod, the service's own name all its pods, and
`_<port>._<protocol>.<service>...` a SRV record for each. A pod without a name of its own there is called after its
address (`127-1-2-3.<service>...`), as CoreDNS does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.headless import DOMAIN, Record


@dataclass(frozen=True, slots=True)
class Target:
    """Where a named port of a pod is: what a SRV record says."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Zone:
    """The names below `domain`, in lower case and without the dot at the end."""

    domain: str = DOMAIN
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    targets: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    """Every name that there is, those in between included: asked for another type of record they answer nothing,
    where a name that is not here does not exist (RFC 8020)."""

    def has_authority_over(self, name: str) -> bool:
        """Tell whether names like this are ours to answer."""
        return name == self.domain or name.endswith(f".{self.domain}")


def zone_of(records: Iterable[Record], domain: str = DOMAIN) -> Zone:
    """Return the zone in which `records` (services.agent.names) are published."""
    addresses: dict[str, list[str]] = {}
    targets: dict[str, list[Target]] = {}
    for record in records:
        service = f"{record.service}.{record.namespace}.svc.{domain}"
        host = f"{record.host or record.address.replace('.', '-')}.{service}"
        addresses.setdefault(service, []).append(record.address)
        addresses.setdefault(host, []).append(record.address)
        for port in record.ports:
            target = Target(host, port.number)
            targets.setdefault(service, []).append(target)
            if port.name:
                name = f"_{port.name}._{port.protocol.lower()}.{service}"
                targets.setdefault(name, []).append(target)
    known = {domain, *_with_parents((*addresses, *targets), domain)}
    return Zone(
        domain,
        {name: tuple(found) for name, found in addresses.items()},
        {name: tuple(found) for name, found in targets.items()},
        frozenset(known),
    )


def _with_parents(names: Iterable[str], domain: str) -> Iterable[str]:
    for name in names:
        while name != domain:
            yield name
            name = name.partition(".")[2]
