"""The image store: what is there, what is missing, and what the bytes are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.agent.images import ImageStore, Reference, parse_reference
from services.agent.runtimes.port import Refused


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("db", Reference("db", "latest", "")),
        ("db:5.7.2", Reference("db", "5.7.2", "")),
        ("registry.local:5000/team/db:1", Reference("registry.local:5000/team/db", "1", "")),
        ("team/db@sha256:" + "a" * 64, Reference("team/db", "latest", "sha256:" + "a" * 64)),
    ],
)
def test_an_image_name_has_parts(image: str, expected: Reference) -> None:
    assert parse_reference(image) == expected


@pytest.mark.parametrize("image", ["", "../etc", "/db", "db:", "db/../x", "DB", "db:a/b", "db:..", "a b"])
def test_a_name_that_is_none_is_refused(image: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_reference(image)
    assert refused.value.reason == "InvalidImageName"


def test_a_known_name_must_have_the_tag_and_an_unknown_one_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "db" / "1").mkdir(parents=True)
    store = ImageStore(tmp_path)
    assert store.find("db:1") == tmp_path / "db" / "1"
    assert store.find("other:1") is None and ImageStore(None).find("db:1") is None
    with pytest.raises(Refused) as refused:
        store.find("db:2")
    assert refused.value.reason == "ErrImagePull"
    with pytest.raises(Refused):
        store.find("db:1@sha256:" + "0" * 64)
    assert store.find(f"db:1@{store.digest_of(tmp_path / 'db' / '1')}") == tmp_path / "db" / "1"


def test_the_digest_follows_every_byte_name_mode_and_link(tmp_path: Path) -> None:
    store, tree = ImageStore(tmp_path), tmp_path / "db"
    (tree / "bin").mkdir(parents=True)
    digests = [store.digest_of(tree)]
    (tree / "bin" / "serve").write_text("one")
    digests.append(store.digest_of(tree))
    (tree / "bin" / "serve").write_text("other")
    digests.append(store.digest_of(tree))
    (tree / "bin" / "serve").chmod(0o755)
    digests.append(store.digest_of(tree))
    os.symlink("serve", tree / "bin" / "link")
    digests.append(store.digest_of(tree))
    (tree / "bin" / "serve").rename(tree / "bin" / "run")
    digests.append(store.digest_of(tree))
    assert len(set(digests)) == len(digests) and store.digest_of(tree) == digests[-1]
