"""A clone with its compose.yaml, as its users have it, and the cluster that it makes on a Docker daemon."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
import yaml

from tests.compose.stand_ins import PYTHON_IMAGE, REDIS_IMAGE, download_wheels, make_images
from tests.dockerd import SKIPPED

ROOT = Path(__file__).parents[2]
CLONED = "pyproject.toml README.md Dockerfile .dockerignore compose.yaml .env.example schemas events services examples"
PATIENCE = 180.0
LONGEST = 240.0
"""Seconds that any one call of docker-compose may take."""
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"


class Composed:
    """A project of compose in a clone of its own; `passwords` are those of its two servers."""

    def __init__(self, folder: Path, docker_host: str) -> None:
        self.name = f"chronoset-test-{os.getpid()}"
        self.passwords = tuple(os.urandom(12).hex() for _ in range(2))
        self.folder = folder
        self._image = f"{self.name}:1"
        self.client: Any = docker.APIClient(docker_host, timeout=120)
        self._environment = {**os.environ, "DOCKER_HOST": docker_host, "COMPOSE_PROJECT_NAME": self.name}
        self._environment |= {"DOCKER_BUILDKIT": "0", "COMPOSE_HTTP_TIMEOUT": "180"}

    def build(self) -> None:
        """Clone, write .env as .env.example says, and build the image from stand-ins and downloaded wheels."""
        if not shutil.which("docker-compose"):
            pytest.skip(f"{SKIPPED} WITH COMPOSE: install docker-compose (.ci/dockerd install)")
        for name in CLONED.split():
            source, target = ROOT / name, self.folder / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        make_images(self.client)
        download_wheels(self.folder / "pyproject.toml", self.folder / "wheels")
        (self.folder / ".env").write_text(self._settings())
        self("build", "init")

    def _settings(self) -> str:
        settings = (self.folder / ".env.example").read_text()
        for name, password in zip(("LOG", "QUEUE"), self.passwords, strict=True):
            settings = settings.replace(f"_{name}_PASSWORD=\n", f"_{name}_PASSWORD={password}\n")
        for name, value in {
            "IMAGE": self._image,
            "PYTHON_IMAGE": PYTHON_IMAGE,
            "REDIS_IMAGE": REDIS_IMAGE,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "/src/wheels",
            "API_PORT": str(_free_port()),
        }.items():
            settings += f"CHRONOSET_{name}={value}\n"
        return settings

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Call docker-compose in the clone and return what it prints."""
        command = ["docker-compose", "--ansi", "never", *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-3000:]} {done.stderr[-3000:]}"
        return done.stdout

    def chronoset(self, *arguments: str, stdin: str | None = None) -> str:
        """Call `chronoset` in the container of the API."""
        return self("exec", "-T", "api", "chronoset", *arguments, stdin=stdin)

    def containers(self) -> list[Any]:
        """Return what docker inspect says of each container that is to run."""
        found = self.client.containers(all=True, filters={"label": f"{PROJECT}={self.name}"})
        inspected = [self.client.inspect_container(each["Id"]) for each in found]
        return sorted(
            (each for each in inspected if each["Config"]["Labels"][SERVICE] not in ("init", "invitation")),
            key=lambda each: each["Name"],
        )

    def kill(self, container: Any) -> None:
        """End a container's program as the kernel does when memory is short, and wait until it runs again."""
        pid = container["State"]["Pid"]
        os.kill(pid, signal.SIGKILL)

        def runs_again() -> bool:
            state = self.client.inspect_container(container["Id"])["State"]
            return bool(state["Running"] and state["Pid"] not in (0, pid))

        wait_for(f"{container['Name']} runs again", runs_again)

    def api(self) -> httpx.Client:
        """Return a client of the API, at its published port, with the administrator's kubeconfig."""
        config = yaml.safe_load(self.chronoset("kubeconfig"))
        user = config["users"][0]["user"]
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        trust = ssl.create_default_context(cadata=authority)
        pair = self.folder / "client.pem"
        pair.write_bytes(
            b"".join(base64.b64decode(user[f"client-{each}-data"]) for each in ("certificate", "key"))
        )
        trust.load_cert_chain(pair)
        return httpx.Client(
            verify=trust, base_url=f"https://{self('port', 'api', '6443').strip()}", timeout=10
        )

    def down(self) -> None:
        """Remove containers, network and volumes, and the image."""
        self("down", "--volumes", "--timeout", "30")
        if self.client.images(self._image):
            self.client.remove_image(self._image)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def wait_for(what: str, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Ask until it is so, whatever is away meanwhile, and return what it is."""
    deadline = time.monotonic() + patience
    seen: Any = None
    while time.monotonic() < deadline:
        try:
            if seen := condition():
                return seen
        except (httpx.HTTPError, docker.errors.APIError) as error:
            seen = error
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {patience:.0f} s; last seen: {seen!r}")
