"""Sessions of kubectl, played by every version on the machine against one cluster."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.settings import KUBECONFIG
from tests.e2e.clusters import Cluster, temporary_cluster, wait_for
from tests.e2e.kubectl.programs import VERSIONS, kubectl_of
from tests.e2e.kubectl.transcripts import matches, parse, play, run

pytestmark = [pytest.mark.e2e, pytest.mark.server]

HERE = Path(__file__).parent
WHOLE = (VERSIONS[0], VERSIONS[-1])
OFTEN = (VERSIONS[0], *VERSIONS[-2:])
"""Played in every run; the versions between only with --long."""
TALKER = """#!/bin/sh
echo "hello from $POD_NAME"
trap 'exit 0' TERM
sleep 1000000 &
wait
"""
"""The image of the sessions' pods: it says something and stays."""


@dataclass(frozen=True)
class Desk:
    """A folder with the sessions' manifests and one version of kubectl, which has a namespace of its own."""

    folder: Path
    environ: Mapping[str, str]
    version: str

    def plays(self, transcript: str) -> None:
        """Play a transcript; fails with the first step that says something else."""
        for step in parse((HERE / transcript).read_text()):
            if step.is_for(self.version):
                said = play(step, self.folder, self.environ)
                assert said is None, (
                    f"{transcript}:{step.number}: kubectl {self.version}\n$ {step.line}\n"
                    + "\n".join(
                        (*said.lines, f"[{said.code}]", "--- instead of", *step.expected, f"[{step.code}]")
                    )
                )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with temporary_cluster(2) as cluster:
        wait_for((cluster.data_dir / KUBECONFIG).exists, "the kubeconfig")
        for tag in ("1", "2"):
            tree = cluster.data_dir / "images" / "talker" / tag
            tree.mkdir(parents=True)
            (tree / "entrypoint").write_text(f"{TALKER}# {tag}\n")
            (tree / "entrypoint").chmod(0o755)
        yield cluster


@pytest.fixture(
    scope="module",
    params=[each if each in OFTEN else pytest.param(each, marks=pytest.mark.long) for each in VERSIONS],
)
def desk(request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    version: str = request.param
    program = kubectl_of(version)
    if program is None:
        pytest.skip(f"there is no kubectl {version} on this machine, so nothing is known about it")
    folder = tmp_path_factory.mktemp(f"kubectl-{version}")
    shutil.copytree(HERE / "manifests", folder, dirs_exist_ok=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "kubectl").symlink_to(program)
    shutil.copy(cluster.data_dir / KUBECONFIG, folder / "config")
    space = f"session-{version.replace('.', '-')}"
    environ = {
        **os.environ,
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "HOME": str(folder),
        "KUBECONFIG": str(folder / "config"),
        "SPACE": space,
    }
    made = run(
        f"kubectl create namespace {space} && kubectl config set-context --current --namespace={space}",
        folder,
        environ,
    )
    assert made.code == 0, made
    return Desk(folder, environ, version)


def test_a_whole_session(desk: Desk) -> None:
    if desk.version not in WHOLE:
        pytest.skip("the oldest and the newest play the whole session, those between a short one")
    desk.plays("full.txt")


def test_a_short_session(desk: Desk) -> None:
    if desk.version in WHOLE:
        pytest.skip("plays the whole session")
    desk.plays("short.txt")


def test_logs_and_commands_in_pods(desk: Desk) -> None:
    if desk.version not in WHOLE:
        pytest.skip("the oldest and the newest play this")
    desk.plays("logs.txt")


def test_a_transcript_is_not_met_by_something_else() -> None:
    expected = ("NAME READY", "...", "db-<version> 1/1 <age>")
    assert matches(expected, ("NAME READY", "db-1 1/1 5m3s"))
    assert matches(expected, ("NAME READY", "other", "db-1 1/1 5s"))
    assert not matches(expected, ("NAME READY", "db-1 0/1 5s"))
    assert not matches(expected, ("NAME READY", "db-1 1/1 5s", "more"))
    assert not matches(expected, ())


def test_what_a_transcript_says_is_read() -> None:
    first, second = parse("# a\n$>=1.30 kubectl a\n> b\nx  y\n\n[1]\n$~ c\n")
    assert (first.line, first.expected, first.code, first.again) == ("kubectl a\nb", ("x  y",), 1, False)
    assert first.is_for("1.30") and not first.is_for("1.29") and second.is_for("1.29") and second.again
    with pytest.raises(ValueError, match="line 1"):
        list(parse("lost"))
