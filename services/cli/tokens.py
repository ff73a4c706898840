"""`chronoset agent token list` and `revoke`: who may come in by a token, until when, and not any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import NotFound
from schemas.objects import Key, key_of_object
from schemas.times import Milliseconds, age, parse_rfc3339
from services.cli.options import ActorName, DataDir, WriteFormat, WriteOutput
from services.cli.streams import aside, show_json
from services.cli.tables import table

if TYPE_CHECKING:
    from services.cli.session import Session

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="What a token begins with, before the dot.")]


@dataclass(frozen=True, slots=True)
class Known:
    """What the cluster knows of a token: whom it stands for, and until when (0: for ever); not the token."""

    id: str
    key: Key
    user: str
    groups: tuple[str, ...]
    made: Milliseconds
    ends: Milliseconds


def list_tokens(output: WriteFormat = WriteOutput.TABLE, data_dir: DataDir = None) -> None:
    """List the tokens that hold: those to join by, those of nodes that have joined, and those of kubeconfigs.

    What a token is nobody can tell any more, only what it begins with. One that is over is taken away by itself.

    \b
    Example:
      chronoset agent token list
    """
    from services.cli.session import now_ms, open_session

    session, now = open_session(data_dir), now_ms()
    found = [each for each in _known(session) if not each.ends or each.ends > now]
    if output is WriteOutput.JSON:
        show_json([_record(each) for each in found])
        return
    rows = [
        (
            each.id,
            each.user,
            _purpose(each),
            age(each.made, now),
            age(now, each.ends) if each.ends else "never",
        )
        for each in found
    ]
    print(table(("ID", "USER", "FOR", "AGE", "ENDS IN"), rows) if rows else "no tokens")


def revoke(ids: Ids, actor: ActorName = "", data_dir: DataDir = None) -> None:
    """Take tokens back: who comes by one is refused from now on.

    A node whose token is taken back holds still: its pods run on, and nobody hears of them. A machine joins again by
    `chronoset agent join` with another token.

    \b
    Example:
      chronoset agent token revoke 3f9c0a1b2c3d4e5f
    """
    from services.cli.session import new_command_id, open_session
    from services.commands.commands import Delete

    session = open_session(data_dir)
    session.catch_up(session.log.last())
    known = {each.id: each for each in _known(session)}
    if missing := [each for each in ids if each not in known]:
        raise NotFound(
            f"ID: {missing[0][:40]!r} is no token's; chronoset agent token list shows those that hold"
        )
    who = session.actor(actor)
    for each in dict.fromkeys(ids):
        session.executor.execute(Delete(known[each].key), who, new_command_id())
        aside(f"took back the token {each} of {known[each].user}")


def _known(session: Session) -> Iterator[Known]:
    """Yield what is known of each token, the oldest first."""
    from schemas.kinds import SECRET
    from services.api.identity.tokens import NAMESPACE, TYPE, grant_of, id_of

    secrets = [each for each in session.sources.list(SECRET.resource, NAMESPACE) if each.get("type") == TYPE]
    for secret in sorted(secrets, key=lambda each: str(each["metadata"]["creationTimestamp"])):
        grant = grant_of(session.sources.unseal(secret))
        if grant is not None:
            made = parse_rfc3339(secret["metadata"]["creationTimestamp"])
            user = grant.user
            yield Known(id_of(secret), key_of_object(secret), user.name, user.groups, made, grant.ends)


def _purpose(known: Known) -> str:
    from services.api.identity.nodes import GROUP
    from services.api.identity.tokens import BOOTSTRAPPERS

    return "joining" if BOOTSTRAPPERS in known.groups else "a node" if GROUP in known.groups else "a user"


def _record(known: Known) -> dict[str, object]:
    from services.cli.shown_events import clock_time

    return {
        "id": known.id,
        "user": known.user,
        "groups": list(known.groups),
        "made": clock_time(known.made),
        "ends": clock_time(known.ends) if known.ends else None,
    }
