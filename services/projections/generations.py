"""Where projections are kept: generations of keys, each with a checkpoint that moves together with its content.

The current generation's checkpoint is `{cluster}:views` itself, so that whoever reads it knows where to read and how
far that is. One under construction has a checkpoint of its own, which expires when its builder is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson
import redis

from events.lines import Line, Part, script_of
from events.state import State
from schemas.errors import LostHistory, Unavailable
from schemas.objects import Key
from schemas.positions import Position, position_of, stream_id_of
from services.projections import keys
from services.projections.effects import Command
from services.projections.errors import reaching
from services.projections.keys import Generation, building_key, generations_key, in_generation, views_key

BUILD_TTL_MS = 60_000
"""How long a build may stand still before its generation is taken for abandoned."""
_SCAN = 1000

_APPLY = script_of("""
-- Apply effects and move the checkpoint, or nothing at all.
-- KEYS 1 checkpoint   ARGV 1 generation  2 expected position  3 position afterwards  4 objects more
--                          5 prefix of the generation's keys  6 ms until the checkpoint expires (0: never)
--                          7 expected number of retries  8 retries more
--                          then per command: number of arguments, name, key without the prefix, arguments
local found = redis.call('HMGET', KEYS[1], 'generation', 'position', 'retried')
if found[1] ~= ARGV[1] or found[2] ~= ARGV[2] or (found[3] or '0') ~= ARGV[7] then return 0 end
local at = 9
while at <= #ARGV do
  local last = at + ARGV[at]
  redis.call(ARGV[at + 1], ARGV[5] .. ARGV[at + 2], unpack(ARGV, at + 3, last))
  at = last + 1
end
redis.call('HSET', KEYS[1], 'position', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'objects', ARGV[4])
if ARGV[6] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
if ARGV[8] ~= '0' then redis.call('HINCRBY', KEYS[1], 'retried', ARGV[8]) end
return 1
""")

_SWITCH = script_of("""
-- Make a built generation the current one, unless readers would go back in time.
-- KEYS 1 views  2 checkpoint of the build   ARGV 1 the log's end
-- Returns 1, or 0 (the build is behind the current generation), or -1 (the build was abandoned).
local function is_later(one, other)
  local ms, sequence = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_sequence = string.match(other, '^(%d+)-(%d+)$')
  if ms ~= other_ms then return tonumber(ms) > tonumber(other_ms) end
  return tonumber(sequence) > tonumber(other_sequence)
end
local built = redis.call('HGETALL', KEYS[2])
if #built == 0 then return -1 end
local position, log = unpack(redis.call('HMGET', KEYS[2], 'position', 'log'))
local current = redis.call('HMGET', KEYS[1], 'position', 'log')
if current[2] == log and is_later(current[1], position) and not is_later(current[1], ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], unpack(built))
redis.call('DEL', KEYS[2])
return 1
""")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a generation is: the fields of `{cluster}:views`.

    position   the last event projected, the end of a batch; a stream id in Redis
    log        id of the log that was projected
    format     version of the layout of the keys
    objects    how many objects there are: what a reload is checked against
    retried    how often parked objects were taken up again: who has not seen that must not write
    """

    generation: Generation
    position: Position
    log: str
    format: str
    objects: int
    retried: int = 0


class Generations:
    """The generations of a cluster's projections on a Redis server. Methods raise Unavailable or Forbidden.

    Only `apply` may be called by several threads or processes on one generation.
    """

    def __init__(self, client: redis.Redis, cluster: str) -> None:
        self._client: Any = client
        self._cluster = cluster
        self._views = views_key(cluster)
        self._line = Line(client)

    def current(self) -> Checkpoint | None:
        """Return the checkpoint of the generation that readers read; None where there is none."""
        with reaching():
            return _checkpoint_of(self._client.hgetall(self._views))

    def building(self, generation: Generation) -> Checkpoint | None:
        """Return the checkpoint of a generation that is being built; None where it is not, or was given up."""
        with reaching():
            return _checkpoint_of(self._client.hgetall(building_key(self._cluster, generation)))

    def begin(self, log_id: str, since: Position = 0) -> Checkpoint:
        """Begin to build a new generation, empty and at position 0, with changes `since` a position only."""
        with reaching():
            generation = str(self._client.hincrby(self._views, "last", 1))
            self._delete(generation)
            checkpoint = Checkpoint(generation, 0, log_id, keys.FORMAT, 0)
            fields = {"generation": generation, "position": stream_id_of(0), "log": log_id}
            building = building_key(self._cluster, generation)
            pipeline = self._client.pipeline(transaction=True)
            pipeline.sadd(generations_key(self._cluster), generation)
            fields |= {"format": keys.FORMAT, "since": stream_id_of(since)}
            pipeline.hset(building, mapping={**fields, "objects": 0})
            pipeline.pexpire(building, BUILD_TTL_MS)
            pipeline.execute()
        return checkpoint

    def apply(
        self, at: Checkpoint, to: Position, objects: int, commands: Sequence[Command], building: bool
    ) -> bool:
        """Apply commands and move the checkpoint from `at` to `to`; False, with nothing done, where it is not at `at`.

        `objects` is by how many the objects become more. Raises LostHistory where the server refuses a command: what
        was applied before it stays, without the checkpoint, and makes the next reload of these objects fail.
        """
        key = building_key(self._cluster, at.generation) if building else self._views
        numbers = (objects, BUILD_TTL_MS if building else 0, 0)
        return self._run(key, at, to, numbers, commands)

    def retry(self, at: Checkpoint, commands: Sequence[Command]) -> bool:
        """Apply commands to the current generation where it is at `at`, and let whoever writes to it notice.

        False, with nothing done, where it is not. Raises as `apply`.
        """
        return self._run(self._views, at, at.position, (0, 0, 1), commands)

    def _run(
        self,
        key: str,
        at: Checkpoint,
        to: Position,
        numbers: tuple[int, int, int],
        commands: Sequence[Command],
    ) -> bool:
        """Call the script. `numbers`: objects more, ms until the checkpoint expires, retries more."""
        objects, expiry, retries = numbers
        arguments = chain.from_iterable((len(command), *command) for command in commands)
        prefix = in_generation(self._cluster, at.generation, "")
        first: list[Part] = [
            at.generation,
            stream_id_of(at.position),
            stream_id_of(to),
            objects,
            prefix,
            expiry,
        ]
        with reaching():
            return bool(self._line.run(_APPLY, [key], [*first, at.retried, retries, *arguments]))

    def switch(self, generation: Generation, log_end: Position) -> bool:
        """Make a built generation the current one. False: it is behind the current one of the same log; build on.

        A current position beyond the log's end does not count. Raises Unavailable where the build has expired.
        """
        with reaching():
            building = building_key(self._cluster, generation)
            answer = self._line.run(_SWITCH, [self._views, building], [stream_id_of(log_end)])
        if answer < 0:
            raise Unavailable(
                f"the build of generation {generation} stood still for too long and was given up"
            )
        return bool(answer)

    def delete_abandoned(self) -> None:
        """Delete the generations that are neither current nor being built."""
        with reaching():
            for member in sorted(self._client.smembers(generations_key(self._cluster))):
                generation = member.decode()
                pipeline = self._client.pipeline(transaction=True)
                pipeline.hget(self._views, "generation")
                pipeline.exists(building_key(self._cluster, generation))
                current, is_built = pipeline.execute()
                if member != current and not is_built:
                    self._delete(generation)

    def state_at(self, checkpoint: Checkpoint) -> State | None:
        """Return the State at a checkpoint, made of the projected objects; None where it has moved meanwhile.

        It has the objects and their indexes, all that effects need, and none of the facts that only a fold knows. That
        it is whole is checked twice: by the number of objects here, by uid and `previous` of each event folded on it.
        Raises LostHistory where the number is wrong.
        """
        state = State()
        state.position, state.log_id = checkpoint.position, checkpoint.log
        with reaching():
            for key, text in self._objects(checkpoint.generation):
                state.put(key, state.get(key), orjson.loads(text))
        if self.current() != checkpoint:
            return None
        if len(state.objects) != checkpoint.objects:
            raise LostHistory(
                f"the projections have {len(state.objects)} objects, {checkpoint.objects} were written",
                checkpoint.position,
            )
        return state

    def parked(self, generation: Generation) -> set[Key]:
        """Return the keys whose projection stands still."""
        with reaching():
            found = self._client.hkeys(in_generation(self._cluster, generation, keys.PARKED))
        return {key.decode() for key in found}

    def _objects(self, generation: Generation) -> Iterator[tuple[Key, bytes]]:
        for member in self._client.smembers(in_generation(self._cluster, generation, keys.RESOURCES)):
            resource = member.decode()
            name = in_generation(self._cluster, generation, keys.objects(resource))
            for field, text in self._client.hscan_iter(name, count=_SCAN):
                yield f"{resource}/{field.decode()}", text

    def _delete(self, generation: Generation) -> None:
        pattern = in_generation(self._cluster, generation, "*")
        for names in _chunks(self._client.scan_iter(match=pattern, count=_SCAN)):
            self._client.unlink(*names)
        self._client.srem(generations_key(self._cluster), generation)


def _checkpoint_of(fields: dict[bytes, bytes]) -> Checkpoint | None:
    if b"generation" not in fields:
        return None
    return Checkpoint(
        fields[b"generation"].decode(),
        position_of(fields[b"position"]),
        fields[b"log"].decode(),
        fields[b"format"].decode(),
        int(fields[b"objects"]),
        int(fields.get(b"retried", 0)),
    )


def _chunks(names: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for name in names:
        chunk.append(name)
        if len(chunk) == _SCAN:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
