"""A pod's surroundings: the pause container, which holds its network, its host name and its ports on the node."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from docker.errors import APIError, NotFound

from schemas.objects import Object, name_of, uid_of
from services.agent.runtimes.docker.engines import Engine, sentence_of
from services.agent.runtimes.docker.labels import PAUSE, labels_of, ours, title_of
from services.agent.runtimes.docker.pauses import ensure_pause_image
from services.agent.runtimes.docker.resolvers import host_resolver, resolver_of
from services.agent.runtimes.docker.specs import check_ports_on_host, host_ports_of, namespaces_of
from services.agent.runtimes.port import Refused
from services.headless import DOMAIN

_REFERRED = "has dependent containers"
_TAKEN = ("port is already allocated", "address already in use")
LONGEST_HOSTNAME = 63


def take_down(client: Any, pause: str) -> bool:
    """Remove a pause container; True if it is gone.

    Podman keeps it while another container, though it has ended, refers to its network; then it is only ended, which
    gives back its ports and its address, and can be started again.
    """
    try:
        client.remove_container(pause, v=True, force=True)
    except NotFound:
        pass
    except APIError as error:
        if _REFERRED not in sentence_of(error):
            raise
        with suppress(APIError):  # it has ended already
            client.kill(pause)
        return False
    return True


class Sandboxes:
    """The pause containers of a node. `name_server` is the address of the cluster's, "" where there is none.

    Where pods have the node's own address (`shares_address`), all of them are on the host's network: machines have no
    other network in common.
    """

    def __init__(
        self,
        engine: Engine,
        node_directory: str,
        name_server: str = "",
        domain: str = DOMAIN,
        shares_address: bool = False,
    ) -> None:
        self._shares_address = shares_address
        self._engine = engine
        self._node_directory = node_directory
        self._name_server = name_server
        self._domain = domain

    def ensure(self, pod: Object) -> tuple[str, str]:
        """Return (id, address) of the pod's pause container, which runs now; the address of a pod of the host's network
        is empty. Raises Refused(NodePorts) where a port of the node is taken; OSError."""
        client = self._engine.client
        for found in ours(client, self._node_directory, uid=uid_of(pod), container=PAUSE):
            if found["State"] == "running":
                return found["Id"], self._address_of(found["Id"])
            if not take_down(client, found["Id"]):
                return self._begin(found["Id"])
        return self._begin(self._create(pod))

    def _begin(self, created: str) -> tuple[str, str]:
        client = self._engine.client
        try:
            client.start(created)
        except APIError as error:
            take_down(client, created)
            if any(words in sentence_of(error) for words in _TAKEN):
                raise Refused("NodePorts", f"a port of the node is taken: {sentence_of(error)}") from None
            raise
        return created, self._address_of(created)

    def _create(self, pod: Object) -> str:
        client, spec = self._engine.client, pod["spec"]
        resolver = resolver_of(pod, self._name_server, host_resolver(), self._domain)
        is_on_host = self._shares_address or bool(spec.get("hostNetwork"))
        if is_on_host:
            check_ports_on_host(pod)
        ports = {} if is_on_host else host_ports_of(pod)
        host = client.create_host_config(
            network_mode="host" if is_on_host else self._engine.network,
            port_bindings=ports or None,
            uts_mode="host" if spec.get("hostNetwork") and self._engine.is_podman else None,
            dns=list(resolver.servers) or None,
            dns_search=list(resolver.searches) or None,
            dns_opt=list(resolver.options) or None,
            **namespaces_of(pod),
        )
        hostname = (spec.get("hostname") or name_of(pod))[:LONGEST_HOSTNAME].rstrip("-.")
        created = client.create_container(
            ensure_pause_image(client),
            name=title_of(pod, PAUSE, 0),
            hostname=None if spec.get("hostNetwork") else hostname,
            ports=[(int(port), protocol) for port, _, protocol in (each.partition("/") for each in ports)],
            labels=labels_of(pod, PAUSE, 0, self._node_directory),
            host_config=host,
        )
        return str(created["Id"])

    def _address_of(self, container: str) -> str:
        found: dict[str, Any] = self._engine.client.inspect_container(container)["NetworkSettings"][
            "Networks"
        ]
        return str((found.get(self._engine.network) or {}).get("IPAddress") or "")
