"""Which kubectls there are on the machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

VERSIONS = tuple(f"1.{minor}" for minor in range(27, 34))
FOLDERS = ("/usr/lib/google-cloud-sdk/bin", "/usr/local/bin")


def kubectl_of(version: str) -> str | None:
    """Return the kubectl of a version: `kubectl.1.33`, or a plain one that says it is; None where there is neither."""
    for folder in FOLDERS:
        if (Path(folder) / f"kubectl.{version}").exists():
            return f"{folder}/kubectl.{version}"
    plain = shutil.which("kubectl")
    if plain is None:
        return None
    said = subprocess.run([plain, "version", "--client", "-o", "json"], capture_output=True, check=False)
    found = json.loads(said.stdout or "{}").get("clientVersion", {})
    return plain if found.get("gitVersion", "").startswith(f"v{version}.") else None
