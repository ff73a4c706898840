"""Whom a container asks for names: what its resolv.conf says (pkg/kubelet/network/dns/dns.go). Pure but for the reader
of the host's own file.

The name server of the cluster refuses what is not the cluster's, upon which resolvers ask the next one: so the host's
come after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from schemas.objects import Object, namespace_of

RESOLV_CONF = Path("/etc/resolv.conf")
CLUSTER_OPTIONS = ("ndots:5",)


@dataclass(frozen=True, slots=True)
class Resolver:
    """The lines of a resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def resolver_of(pod: Object, cluster: str, host: Resolver, domain: str) -> Resolver:
    """Return the resolver of a pod by its dnsPolicy and dnsConfig; `cluster` is the name server, "" for none."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy == "None":
        base = Resolver()
    elif policy == "Default" or not cluster:
        base = host
    else:
        own = (f"{namespace_of(pod)}.svc.{domain}", f"svc.{domain}", domain)
        base = Resolver((cluster, *host.servers), (*own, *host.searches), CLUSTER_OPTIONS)
    return _with_config(base, spec.get("dnsConfig") or {})


def host_resolver(path: Path = RESOLV_CONF) -> Resolver:
    """Return the host's resolver without servers that only the host itself reaches; nothing where it has no file."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return Resolver()
    servers = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
    searches = [words[1:] for words in lines if words[:1] == ["search"]]
    options = [words[1:] for words in lines if words[:1] == ["options"]]
    return Resolver(
        tuple(server for server in servers if _is_reachable(server)),
        tuple(searches[-1]) if searches else (),
        tuple(word for words in options for word in words),
    )


def _with_config(base: Resolver, config: Object) -> Resolver:
    """Return the resolver with a dnsConfig added; an option goes before one of its name."""
    written = {each["name"]: each.get("value") for each in config.get("options") or ()}
    kept = [option for option in base.options if option.partition(":")[0] not in written]
    added = [name if value is None else f"{name}:{value}" for name, value in written.items()]
    return Resolver(
        tuple(dict.fromkeys((*base.servers, *(config.get("nameservers") or ())))),
        tuple(dict.fromkeys((*base.searches, *(config.get("searches") or ())))),
        (*kept, *added),
    )


def _is_reachable(server: str) -> bool:
    try:
        return not ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False
