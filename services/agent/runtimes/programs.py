"""From a container's specification to the program that a process runtime executes: image, volumes, environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.objects import Object
from services.agent.environments import environment_of, expand
from services.agent.identities import Identity, identity_of
from services.agent.images import ImageStore
from services.agent.runtimes.port import Refused, Run
from services.agent.runtimes.volumes import Mount, mounts_of, variable_of
from services.agent.sources import BadConfiguration
from services.agent.specs import spec_of

ENTRYPOINT = "entrypoint"
"""The file of an image that runs where the container names no command."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to execute. `image_id` is the digest of what runs."""

    command: list[str]
    env: dict[str, str]
    directory: str
    mounts: list[Mount]
    image_id: str
    is_verified: bool
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a container of a process pod lives on disk."""

    pod: Path
    container: str

    @property
    def hosts(self) -> Path:
        return self.pod / "hosts"

    @property
    def home(self) -> Path:
        return self.pod / "containers" / self.container

    @property
    def work(self) -> Path:
        return self.home / "work"


def program_of(run: Run, folders: Folders, images: ImageStore, given: Mapping[str, str]) -> Program:
    """Return the program of a run, with its folders made; `given` are variables of the runtime's own.

    Raises Refused where it cannot run as written.
    """
    spec = spec_of(run.pod, run.container)
    tree = _find_image(spec, images)
    mounts = mounts_of(run, spec, folders.pod)
    folders.work.mkdir(parents=True, exist_ok=True)
    for mount in mounts:
        _link(folders.work / mount.target.lstrip("/"), mount.source)
    try:
        base = {
            **_base_of(run.pod, folders, tree),
            **{variable_of(mount): mount.source for mount in mounts},
            **given,
        }
        env = environment_of(run.pod, spec, base, run.sources)
        identity = identity_of(run.pod, spec, Identity(os.getuid(), os.getgid()))
    except BadConfiguration as error:
        raise Refused("CreateContainerConfigError", str(error)) from None
    if identity is not None:
        os.chown(folders.work, identity.user, identity.group)
    command = _command_of(spec, tree, env)
    runs = tree or Path(shutil.which(command[0], path=env.get("PATH")) or "/dev/null")
    return Program(
        command=command,
        env=env,
        directory=str(_directory_of(spec, folders.work, tree)),
        mounts=mounts,
        image_id=images.digest_of(runs),
        is_verified=tree is not None,
        identity=identity,
    )


def _find_image(spec: Object, images: ImageStore) -> Path | None:
    try:
        return images.find(spec.get("image", ""))
    except Refused as error:
        if error.reason == "ErrImagePull" and spec.get("imagePullPolicy") == "Never":
            raise Refused("ErrImageNeverPull", str(error)) from None
        raise


def _base_of(pod: Object, folders: Folders, tree: Path | None) -> dict[str, str]:
    """Return what every program finds in its environment. Nothing of the agent's own but the search path."""
    path = os.environ.get("PATH", os.defpath)
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    base = {
        "PATH": f"{tree}:{tree}/bin:{path}" if tree else path,
        "HOME": str(folders.work),
        "HOSTNAME": pod["spec"].get("hostname") or name,
        "LANG": "C.UTF-8",
        "POD_IP": pod["status"].get("podIP", ""),
        "POD_NAME": name,
        "POD_NAMESPACE": namespace,
        "CHRONOSET_HOSTS": str(folders.hosts),
    }
    return base | ({"IMAGE_DIR": str(tree)} if tree else {})


def _link(place: Path, target: str) -> None:
    """Make `place` a link to the volume, so that its mount path works below the working directory too."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        place.unlink()
    if not place.exists():
        place.symlink_to(target)


def _directory_of(spec: Object, work: Path, tree: Path | None) -> Path:
    """Return the working directory: workingDir inside the image, else below the container's own folder."""
    wish = (spec.get("workingDir") or "").lstrip("/")
    if not wish:
        return work
    if tree is not None and (tree / wish).is_dir():
        return tree / wish
    (work / wish).mkdir(parents=True, exist_ok=True)
    return work / wish


def _command_of(spec: Object, tree: Path | None, env: Mapping[str, str]) -> list[str]:
    """Return command and args, expanded. A program with a slash in its name is looked up in the image first."""
    command = [expand(word, env) for word in spec.get("command") or ()]
    arguments = [expand(word, env) for word in spec.get("args") or ()]
    if not command:
        if tree is None or not (tree / ENTRYPOINT).exists():
            raise Refused(
                "CreateContainerError",
                f"container {spec['name']!r} names no command and its image has no file {ENTRYPOINT!r}",
            )
        command = [str(tree / ENTRYPOINT)]
    elif tree is not None and "/" in command[0] and (inside := tree / command[0].lstrip("/")).is_file():
        command[0] = str(inside)
    return command + arguments
