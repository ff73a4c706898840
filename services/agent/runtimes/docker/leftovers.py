"""Ending the containers of a cluster that has no agent any more: what `up` and `down` do last.

Containers that have ended stay, with what they have printed, until the pods go on or the data are deleted; what holds
a pod's network, and the network itself, does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound

from services.agent.runtimes.docker.engines import connect_engine, network_name
from services.agent.runtimes.docker.labels import NODE, is_pause
from services.agent.runtimes.docker.sandboxes import take_down

KILL_PATIENCE = 10.0
POLL_SECONDS = 0.1
REMOVERS = 8


def end_containers(url: str, directory: Path, grace: float, deletes: bool = False) -> int:
    """End every container of the nodes below `directory` and return how many ran; `deletes` removes them too.

    Each is asked to end, and killed after `grace` seconds. There must be no agent that starts them again. Raises
    Unavailable where the daemon at `url` does not answer, OSError where it refuses.
    """
    client = connect_engine(url)
    try:
        found = _below(client, directory)
        mains = [each for each in found if not is_pause(each)]
        running = [each["Id"] for each in mains if each["State"] == "running"]
        for signal, patience in (("", grace), ("SIGKILL", KILL_PATIENCE)):
            _send(client, [each for each in running if _runs(client, each)], signal)
            _wait_until(lambda: not any(_runs(client, each) for each in running), patience)
        pauses = [each["Id"] for each in found if is_pause(each)]
        with ThreadPoolExecutor(REMOVERS) as pool:
            if deletes:
                list(pool.map(partial(_remove, client), mains))
            are_gone = list(pool.map(partial(take_down, client), pauses))
        if all(are_gone):
            with suppress(NotFound):
                client.remove_network(network_name(directory))
    finally:
        client.close()
    return len(running)


def _below(client: Any, directory: Path) -> list[Any]:
    inside = f"{directory.resolve()}/"
    found = client.containers(all=True, filters={"label": [NODE]})
    return [each for each in found if f"{each['Labels'][NODE]}/".startswith(inside)]


def _remove(client: Any, container: Any) -> None:
    with suppress(NotFound):
        client.remove_container(container["Id"], v=True, force=True)


def _send(client: Any, containers: list[str], signal: str) -> None:
    for each in containers:
        name = signal or (client.inspect_container(each)["Config"].get("StopSignal") or "SIGTERM")
        with suppress(APIError):
            client.kill(each, name)


def _runs(client: Any, container: str) -> bool:
    try:
        return bool(client.inspect_container(container)["State"]["Running"])
    except NotFound:
        return False


def _wait_until(question: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not question() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
