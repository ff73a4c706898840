"""The cluster: its servers, its programs, how far behind its readers are, and what was given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import cast

import redis

from events.keys import heads_key, log_key
from schemas.errors import ChronosetError
from schemas.positions import Position, position_of, stream_id_of, time_of
from schemas.times import Milliseconds
from services.broker.keys import Keys
from services.clusters import Member, read_record
from services.connections import connect, reaching
from services.doctor.findings import Finding, Level
from services.processes import is_alive
from services.projections.reader import Views
from services.servers import check_durability
from services.settings import Settings, redacted

MAX_SKEW_MS = 60_000
"""The log refuses a writer whose clock is further off (events.log)."""
SKEW_WARNING_MS = 5_000
LAG_WARNING_MS = 5_000


def cluster_findings(settings: Settings) -> list[Finding]:
    """Return what is so in a cluster; a check that cannot reach its server is one finding of its own."""
    found: list[Finding] = []
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (_log, _archive, _queue, _views, _members)
    for check in checks:
        try:
            found += check(settings)
        except (ChronosetError, redis.RedisError) as error:
            found.append(Finding(Level.ERROR, str(error), "see the other findings, and its log"))
    return found


def clock_finding(ours: int, theirs: int) -> Finding:
    """Judge two clocks (milliseconds since 1970): the log server's rules, and a writer 60 s off is refused."""
    off = abs(ours - theirs)
    what = f"this machine's clock and the log server's differ by {off / 1000:.1f} s"
    if off > MAX_SKEW_MS:
        return Finding(Level.ERROR, f"{what}: writes are refused", "set the clock, for example with chrony")
    if off > SKEW_WARNING_MS:
        return Finding(Level.WARNING, f"{what}; beyond 60 s writes are refused", "set the clock")
    return Finding(Level.GOOD, what)


def lag_finding(views: Position, oldest_unread: Position | None, now: int) -> Finding:
    """Judge how far the projections are behind the log.

    `oldest_unread` is the first entry behind `views`, None where there is none; `now` the log server's clock in ms.
    """
    if oldest_unread is None:
        return Finding(Level.GOOD, f"the projections stand at the log's end, {stream_id_of(views)}")
    lag = now - time_of(oldest_unread)
    what = f"the projections stand at {stream_id_of(views)}, {max(0, lag) / 1000:.1f} s behind the log"
    if lag < LAG_WARNING_MS:
        return Finding(Level.GOOD, what)
    return Finding(Level.WARNING, what, "see the projector's log; it catches up by itself unless it ended")


def member_finding(member: Member, now: int) -> Finding:
    """Judge one supervised process. `now` in milliseconds."""
    since = f"for {max(0, now - member.since) // 1000} s"
    exits = f", ended {member.exits} times by itself" if member.exits else ""
    note = f": {member.note}" if member.note else ""
    if member.state == "finished":
        return Finding(Level.GOOD, f"{member.name} has done its work")
    if member.state == "running" and member.process is not None and is_alive(member.process):
        level = Level.WARNING if note else Level.GOOD
        return Finding(level, f"{member.name} runs {since} (pid {member.process.pid}{exits}){note}")
    if member.state == "halted":
        do = (
            "nothing was lost by this; find out which log the servers hold before you start the cluster again"
        )
        return Finding(Level.ERROR, f"{member.name} is halted {since}{note}", do)
    return Finding(
        Level.ERROR, f"{member.name} is not running ({member.state} {since}{exits}){note}", "see its log"
    )


def _log(settings: Settings) -> Iterator[Finding]:
    url = settings.log_url
    with reaching("the log's server", url), connect(url, "doctor", retries=1) as client:
        before = _now()
        seconds, micros = cast(tuple[int, int], client.time())
        theirs, ours = seconds * 1000 + micros // 1000, (before + _now()) // 2
        yield Finding(Level.GOOD, f"the log's server ({redacted(url)}) answers")
        yield clock_finding(ours, theirs)
        yield _durability(client, settings)
        log_id, tail, refuse = client.hmget(heads_key(settings.cluster), ["log", "tail", "refuse"])
        if not isinstance(log_id, bytes) or not isinstance(tail, bytes):
            yield Finding(
                Level.ERROR, f"there is no log of cluster {settings.cluster} on it", "start one with up"
            )
            return
        yield Finding(Level.GOOD, f"log {log_id.decode()} ends at {tail.decode()}")
        if isinstance(refuse, bytes) and refuse:
            level, _, reason = refuse.decode().partition(":")
            refused = "all writes" if level == "all" else "all writes but deletes"
            yield Finding(
                Level.ERROR,
                f"the log refuses {refused}: {reason}",
                "do what the reason says; it is lifted then",
            )


def _durability(client: redis.Redis, settings: Settings) -> Finding:
    try:
        check_durability(client, settings.durability)
    except ChronosetError as error:
        return Finding(Level.ERROR, str(error))
    promise = {"always": "no acknowledged event is lost", "everysec": "a crash may lose the last second"}
    return Finding(Level.GOOD, f"durability {settings.durability}: {promise[settings.durability]}")


def _queue(settings: Settings) -> Iterator[Finding]:
    url, keys = settings.queue_url, Keys(settings.cluster)
    with reaching("the queue's server", url), connect(url, "doctor", retries=1) as client:
        client.ping()
        yield Finding(Level.GOOD, f"the queue's server ({redacted(url)}) answers")
        dead = {key: client.xlen(key) for key in client.scan_iter(keys.dead("*"), count=1000)}
        for key, count in dead.items():
            what = f"{count} messages were given up and lie in {key.decode()}"
            yield Finding(
                Level.WARNING,
                what,
                "each says why in its field error; the keys are looked at again by themselves",
            )
        for node in settings.node_names:
            if not client.exists(keys.heartbeat(node)):
                yield Finding(Level.WARNING, f"node {node} sends no heartbeat", "see its agent's log")


def sealing_finding(oldest_unsealed: Position | None, now: Milliseconds, age: Milliseconds) -> Finding:
    """Judge whether the historian works: `oldest_unsealed` is the first entry that is not sealed, due when of `age`."""
    waiting = now - time_of(oldest_unsealed) if oldest_unsealed is not None else 0
    if waiting <= 2 * age:
        return Finding(Level.GOOD, "the archive is as far as it should be")
    what = f"nothing was sealed into the archive for {waiting // 60_000} minutes, so the log's memory fills"
    return Finding(Level.WARNING, what, "see logs/historian.log, and chronoset archive status")


def _archive(settings: Settings) -> Iterator[Finding]:
    url = settings.log_url
    with reaching("the log's server", url), connect(url, "doctor", retries=1) as client:
        tail, sealed = client.hmget(heads_key(settings.cluster), ["tail", "sealed"])
        if tail is None:
            return
        unsealed = client.xrange(log_key(settings.cluster), f"({(sealed or b'0-0').decode()}", count=1)
        seconds, micros = cast(tuple[int, int], client.time())
    oldest = position_of(cast(bytes, unsealed[0][0])) if unsealed else None
    yield sealing_finding(oldest, seconds * 1000 + micros // 1000, settings.seal_age)


def _views(settings: Settings) -> Iterator[Finding]:
    log_url, url = settings.log_url, settings.views_url
    with reaching("the log's server", log_url), connect(log_url, "doctor", retries=1) as client:
        if client.hget(heads_key(settings.cluster), "tail") is None:
            return
    with reaching("the views' server", url), connect(url, "doctor", retries=1) as client:
        views = Views(client, settings.cluster)
        position, parked = views.position(), views.parked()
    with reaching("the log's server", log_url), connect(log_url, "doctor", retries=1) as client:
        unread = client.xrange(log_key(settings.cluster), f"({stream_id_of(position)}", count=1)
        seconds, micros = cast(tuple[int, int], client.time())
    oldest = position_of(cast(bytes, unread[0][0])) if unread else None
    yield lag_finding(position, oldest, seconds * 1000 + micros // 1000)
    for key, one in parked.items():
        what = f"the projection of {key} stands still since {one.type} at {stream_id_of(one.position)}: {one.error}"
        yield Finding(
            Level.ERROR,
            what,
            "it is a defect, please report it; chronoset projections retry takes it up again",
        )


def _members(settings: Settings) -> Iterator[Finding]:
    record = read_record(settings.data_dir)
    if record is None or not is_alive(record.supervisor):
        yield Finding(
            Level.NOTE, "no supervisor runs on this data directory, so its programs are not known here"
        )
        return
    yield Finding(Level.GOOD, f"the supervisor runs (pid {record.supervisor.pid})")
    now = _now()
    yield from (member_finding(member, now) for member in record.members)


def _now() -> int:
    return time.time_ns() // 1_000_000
