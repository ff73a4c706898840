"""Where a pod's claims are on this node: the directory that the bound PersistentVolume names."""

from __future__ import annotations

from pathlib import Path

from schemas.kinds import CLAIM, VOLUME
from schemas.objects import Object, namespace_of
from services.agent.host_paths import place_of
from services.agent.host_types import prepare_host_path
from services.agent.port import ControlPlane
from services.agent.runtimes.port import Refused


def directories_of(pod: Object, control_plane: ControlPlane, node_directory: Path) -> dict[str, str]:
    """Return claim name -> directory, for every claim of `pod`; a relative path is below the node's directory.

    Raises Refused: ContainerCreating where a claim is not bound yet, CreateContainerConfigError where its volume
    is neither `local` nor `hostPath`; ContainerCreating too where what somebody has made is not there
    (pkg/volume/local, pkg/volume/hostpath).
    """
    names = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"].get("volumes") or ()
        if volume.get("persistentVolumeClaim")
    ]
    root = node_directory.absolute()
    return {name: str(_place_of(namespace_of(pod), name, control_plane, root)) for name in names}


def _place_of(namespace: str, claim_name: str, control_plane: ControlPlane, root: Path) -> Path:
    claim = control_plane.get(CLAIM.resource, namespace, claim_name)
    volume_name = claim["spec"].get("volumeName") if claim else None
    volume = control_plane.get(VOLUME.resource, "", volume_name) if volume_name else None
    if volume is None:
        raise Refused("ContainerCreating", f"claim {claim_name!r} is not bound to a volume yet")
    if source := volume["spec"].get("hostPath"):
        prepare_host_path(str(volume_name), source, root)
        return place_of(root, source["path"])
    if source := volume["spec"].get("local"):
        place = root / str(source["path"])
        if Path(source["path"]).is_absolute() and not place.exists():
            why = f'MountVolume.NewMounter initialization failed for volume "{volume_name}" : '
            raise Refused("ContainerCreating", f'{why}path "{place}" does not exist')
        return place
    raise Refused("CreateContainerConfigError", f"volume {volume_name!r} is neither local nor hostPath")
