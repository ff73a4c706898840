"""Whatever has the shape of a kind is stored and judged without a crash, for every field of every kind."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from schemas.canonical import canonical
from schemas.definitions import Shape, shape_of
from schemas.kinds import KINDS, Kind
from schemas.patching import strictly_equal
from schemas.validation import validate_create, validate_update

SCALARS: dict[str, tuple[Any, ...]] = {
    "string": (
        "",
        "a",
        "A b",
        "1",
        "25%",
        "None",
        "x\ny",
        "RollingUpdate",
        "OnDelete",
        "Always",
        "In",
        "Exists",
    ),
    "integer": (-1, 0, 1, 80, 70000, 3.0),
    "number": (0, 1, 0.5),
    "boolean": (True, False),
}


def a_value(shape: Shape, chance: random.Random, density: float) -> Any:
    if chance.random() < 0.005:
        return None
    if shape.name in ("Time", "MicroTime"):
        return "2026-11-23T02:17:59Z"
    if shape.is_quantity:
        return chance.choice(("1", "500m", "1.5Gi", 2, 0, "-1"))
    kind = chance.choice(shape.types or ("object",))
    if kind == "array":
        return [a_value(shape.items or Shape(), chance, density) for _ in range(chance.randrange(3))]
    if kind != "object":
        return chance.choice(SCALARS[kind])
    if shape.fields is None:
        inner = shape.values or Shape(types=("string",))
        return {
            chance.choice(("a", "b/c", "d e")): a_value(inner, chance, density)
            for _ in range(chance.randrange(3))
        }
    names = [name for name in shape.fields if name in shape.required or chance.random() < density]
    return {name: a_value(shape.fields[name], chance, density * 0.8) for name in names}


def an_object_of(kind: Kind, chance: random.Random) -> Any:
    obj = a_value(shape_of(kind.definition), chance, chance.choice((0.1, 0.3, 0.7))) or {}
    return obj | {"apiVersion": kind.api_version, "kind": kind.kind}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_any_object_of_a_kind_is_stored_stably_and_judged_in_single_lines(kind: Kind) -> None:
    chance = random.Random(kind.kind)
    accepted: list[Any] = []
    for _ in range(150):
        obj = an_object_of(kind, chance)
        before = copy.deepcopy(obj)
        once = canonical(obj)
        assert strictly_equal(obj, before)
        causes = once.causes
        if not causes:
            again = canonical(once.object)
            assert again.causes == ()
            assert strictly_equal(again.object, once.object)
            accepted.append(once.object)
            causes = (
                *validate_create(once.object),
                *validate_update(accepted[-min(2, len(accepted))], once.object),
            )
            assert strictly_equal(again.object, once.object)
        assert all("\n" not in str(cause) and len(str(cause)) < 1500 for cause in causes)
    assert len(accepted) > 10
