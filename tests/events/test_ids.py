"""Ids are new ones, in a forked process too."""

from __future__ import annotations

import os
import uuid

from events.ids import random_id, random_uid


def test_ids_have_their_form() -> None:
    assert uuid.UUID(random_uid()).version == 4
    assert len(random_id()) == 32
    assert int(random_id(), 16) >= 0


def test_a_forked_process_makes_others() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, random_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    found = os.read(reading, 32).decode()
    os.close(reading)
    os.close(writing)
    assert found != random_id()
