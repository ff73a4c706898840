"""Writes the golden log of the present format: `python -m tests.goldens.write`. Once per released format, never again.

The files are append-only: a log written by any released version folds to the same state for ever. A new format gets a
new pair of files; the old ones stay as they are (test_golden_logs.py holds their digests).
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path

from events.commit import Edges, Proposal
from events.memory import MemoryLog
from events.secrets import Keyring
from schemas.changes import Create, Delete, Replace
from schemas.envelopes import SCHEMA_VERSION, Actor
from schemas.objects import with_fields, with_metadata
from tests.events.worlds import World, a_bare_pod, a_namespace, a_statefulset, with_image

FOLDER = Path(__file__).parent
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def a_varied_history(keys: Path) -> World:
    """Return a world whose log holds every op, batches, guards, derivations, a sealed Secret and odd values."""
    ticks = iter(range(1_795_401_564_000, 1_795_500_000_000, 137))
    uids = iter(f"00000000-0000-4000-8000-{number:012d}" for number in range(10_000))
    edges = Edges(clock=lambda: 1_795_401_564_000, new_uid=lambda: next(uids), seal=Keyring(keys).seal)
    now = [1_795_401_564_000]

    def clock() -> int:
        now[0] = next(ticks)
        return now[0]

    world = World(MemoryLog("golden", clock), Edges(lambda: now[0], edges.new_uid, edges.seal))
    web = "apps/statefulsets/default/web"
    world.commit(Create(a_namespace("other")))
    world.commit(Create(a_statefulset()))
    guard = f"guard/statefulset/{web}"
    owner = [
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "name": "web",
            "uid": world.the(web)["metadata"]["uid"],
        }
    ]
    controller = Actor("controller:statefulset", "socket")
    for name in ("web-0", "web-1"):
        pod = a_bare_pod(name, ownerReferences=[{**owner[0], "controller": True}])
        position = world.state.guards.get(guard, 0)
        world.decide(lambda p=pod, g=position: Proposal([Create(p)], guard=(guard, g)), actor=controller)
    first = world.the("core/pods/default/web-0")
    world.commit(Replace(first, with_fields(first, spec={**first["spec"], "nodeName": "n1"})))
    first = world.the("core/pods/default/web-0")
    world.commit(Replace(first, with_fields(first, status=READY)), actor=Actor("node:n1", "socket"))
    for image in ("web:2", "web:1"):
        old = world.the(web)
        world.commit(Replace(old, with_image(old, image)), command=f"patch-{image}", digest="d")
    second = world.the("core/pods/default/web-1")
    odd = {"phase": "Failed", "odd": {"null": None, "float": 1.0, "big": 2**63 - 1, "text": "<&>\u2028é"}}
    world.commit(Replace(second, with_fields(second, status=odd)))
    world.commit(Delete(world.the("core/pods/default/web-1")))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "other"},
        "data": {"a": "Yg=="},
    }
    world.commit(Create(secret))
    old = world.the(web)
    world.commit(Replace(old, with_metadata(old, labels={"tier": "db"})), Create(a_bare_pod("loose")))
    return world


def main() -> None:
    log_file = FOLDER / f"log-v{SCHEMA_VERSION}.jsonl"
    if log_file.exists():
        raise SystemExit(f"{log_file} exists: golden logs are never rewritten")
    with tempfile.TemporaryDirectory() as keys:
        world = a_varied_history(Path(keys))
    with log_file.open("w") as out:
        for entry in world.entries():
            fields = {**entry._asdict(), "data": base64.b64encode(entry.data).decode()}
            out.write(json.dumps(fields) + "\n")
    failures = [[*which, each.count, each.last] for which, each in sorted(world.state.failures.items())]
    state = {
        "position": world.state.position,
        "log": world.state.log_id,
        "objects": world.state.objects,
        "guards": world.state.guards,
        "everReady": sorted(world.state.ever_ready),
        "failures": failures,
    }
    (FOLDER / f"state-v{SCHEMA_VERSION}.json").write_text(json.dumps(state, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
