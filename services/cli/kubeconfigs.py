"""`chronoset kubeconfig`: the administrator's, or one for somebody else, with a token of its own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.counts import counted
from schemas.errors import BadRequest, Unavailable
from schemas.objects import Object, key_of_object
from services.cli.completions import complete_namespace
from services.cli.options import ActorName, DataDir
from services.cli.references import checked_namespace
from services.cli.streams import aside
from services.settings import KUBECONFIG, Settings, joined, settings_from, shown_path

if TYPE_CHECKING:
    from services.cli.session import Session

NODE = "system:node:"
ACCOUNT = "system:serviceaccount:"
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._:-]{0,199}")
_DEFAULT_DURATION = "720h"
_SHORTEST = 60


@dataclass(frozen=True, slots=True)
class Wish:
    """Whom a kubeconfig is for: a user in groups, with a role (empty: none is bound) in a namespace (empty: in all)."""

    user: str
    groups: tuple[str, ...]
    role: str
    namespace: str
    seconds: int


def kubeconfig(
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="For somebody else: with a new token.")
    ] = "",
    role: Annotated[
        str, typer.Option("--role", metavar="ROLE", help="What they may: view, edit, admin or cluster-admin.")
    ] = "",
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NAMESPACE",
            help="Where they may; everywhere if left out.",
            autocompletion=complete_namespace,
        ),
    ] = "",
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="NAME", help="A group that they are in.")
    ] = None,
    duration: Annotated[
        str, typer.Option("--duration", metavar="TIME", help="How long the token holds, as 90m or 24h.")
    ] = _DEFAULT_DURATION,
    at: Annotated[
        str,
        typer.Option(
            "--at", metavar="TIME", help="For the past, which can only be read: a time or a position."
        ),
    ] = "",
    revoke: Annotated[bool, typer.Option("--revoke", help="Take all tokens of --user back instead.")] = False,
    actor: ActorName = "",
    data_dir: DataDir = None,
) -> None:
    """Print the configuration by which kubectl, and any Kubernetes client, reaches a running cluster.

    Without --user it is the administrator's. With it, that user gets a token of 256 random bits, of which the cluster
    keeps only a hash, and the role is bound to the name; the token is shown here and never again. With --at, kubectl
    shows the cluster as it was at that moment.

    \b
    Example:
      chronoset kubeconfig > ~/.kube/chronoset
      chronoset kubeconfig --user bob --role view -n shop --duration 24h > bob.kubeconfig
      chronoset kubeconfig --user system:node:n4
      chronoset kubeconfig --user bob --revoke
      chronoset kubeconfig --at 14:03 > then.kubeconfig
    """
    settings = joined(settings_from(os.environ, data_dir))
    moment = _moment_of(at) if at else ""
    if not user:
        if role or group or namespace or revoke:
            raise BadRequest("--user: is missing; name whom the configuration is for, as --user bob")
        print(with_moment(administrators(settings), moment), end="")
        return
    from services.cli.session import Session

    session = Session(settings)
    wish = _checked(user, tuple(group or ()), role, namespace, duration)
    if revoke:
        _revoke(session, wish.user, actor)
        return
    print(with_moment(_written_for(session, wish, actor), moment), end="")


def administrators(settings: Settings) -> str:
    """Return the administrator's kubeconfig, as the API has written it. Raises Unavailable."""
    path = settings.data_dir / KUBECONFIG
    try:
        return path.read_text()
    except OSError as error:
        raise Unavailable(
            f"{shown_path(path)} is not there ({error.strerror}): is the API running? chronoset doctor tells"
        ) from error


def _checked(user: str, groups: tuple[str, ...], role: str, namespace: str, duration: str) -> Wish:
    """Return a wish that can be granted. Raises BadRequest."""
    from services.api.identity.nodes import GROUP
    from services.api.identity.rules import ROLES
    from services.cli.moments import parse_duration

    for option, name in (("--user", user), *(("--group", each) for each in groups)):
        if not _USER.fullmatch(name):
            raise BadRequest(
                f"{option}: {name[:40]!r} is no name; write at most 200 letters, digits and @ . _ : -"
            )
    if role and role not in ROLES:
        raise BadRequest(f"--role: {role!r} is unknown; write one of {', '.join(sorted(ROLES))}")
    if user.startswith("system:") and not user.startswith((NODE, ACCOUNT)):
        raise BadRequest(
            f"--user: {user!r} is the cluster's own; write a name that does not begin with system:"
        )
    if user.startswith(NODE):
        if role:
            raise BadRequest(
                f"--role: {role!r} is not for a node, which may do what a node does; leave it out"
            )
        groups = (*groups, GROUP)
    try:
        seconds = int(parse_duration(duration))
    except BadRequest as error:
        raise BadRequest(str(error).replace("--timeout", "--duration")) from None
    if seconds < _SHORTEST:
        raise BadRequest(f"--duration: {duration!r} is too short; write at least {_SHORTEST}s")
    return Wish(user, groups, role, checked_namespace(namespace) if namespace else "", seconds)


def with_moment(kubeconfig: str, moment: str) -> str:
    """Return a kubeconfig by which its server is asked about a moment of the past; none: as it is."""
    if not moment:
        return kubeconfig
    import yaml

    content = yaml.safe_load(kubeconfig)
    for each in content["clusters"]:
        each["cluster"]["server"] = f"{each['cluster']['server'].rstrip('/')}/at/{moment}"
    text: str = yaml.safe_dump(content, sort_keys=False)
    return text


def _moment_of(text: str) -> str:
    """Return a time or a position in words that mean the same tomorrow. Raises BadRequest."""
    from schemas.positions import stream_id_of, time_of
    from services.cli.moments import parse_moment
    from services.cli.session import now_ms
    from services.cli.shown_events import clock_time

    moment = parse_moment(text, now_ms())
    if moment.note:
        aside(moment.note)
    return clock_time(time_of(moment.position)) if moment.is_time else stream_id_of(moment.position)


def _written_for(session: Session, wish: Wish, actor: str) -> str:
    """Return a new kubeconfig, whose token the cluster knows from now on."""
    import yaml

    from services.api.identity.kubeconfigs import kubeconfig as written
    from services.api.identity.tokens import new_token, secret_of
    from services.cli.session import new_command_id, now_ms
    from services.commands.commands import Apply

    own = yaml.safe_load(administrators(session.settings))
    known = own["clusters"][0]["cluster"]
    token = new_token()
    ends = now_ms() + wish.seconds * 1000
    objects = [binding_of(wish)] if wish.role else []
    for obj in (*objects, secret_of(token, wish.user, wish.groups, ends)):
        session.executor.execute(Apply(obj), session.actor(actor), new_command_id())
    cluster = session.settings.cluster
    authority = _decoded(known["certificate-authority-data"])
    content = written(known["server"], authority, cluster, wish.user, {"token": token}, wish.namespace)
    return content.decode()


def binding_of(wish: Wish) -> Object:
    """Return the object that binds a role to a user, in a namespace or for all."""
    from schemas.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE_BINDING

    kind = ROLE_BINDING if wish.namespace else CLUSTER_ROLE_BINDING
    place = {"namespace": wish.namespace} if wish.namespace else {}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": f"{wish.role}:{wish.user}", **place},
        "roleRef": {"apiGroup": CLUSTER_ROLE.group, "kind": CLUSTER_ROLE.kind, "name": wish.role},
        "subjects": [{"apiGroup": CLUSTER_ROLE.group, "kind": "User", "name": wish.user}],
    }


def _revoke(session: Session, user: str, actor: str) -> None:
    from schemas.kinds import SECRET
    from services.api.identity.tokens import NAMESPACE, TYPE, grant_of
    from services.cli.session import new_command_id
    from services.commands.commands import Delete

    session.catch_up(session.log.last())
    count = 0
    for secret in session.sources.list(SECRET.resource, NAMESPACE):
        grant = grant_of(session.sources.unseal(secret)) if secret.get("type") == TYPE else None
        if grant is not None and grant.user.name == user:
            session.executor.execute(Delete(key_of_object(secret)), session.actor(actor), new_command_id())
            count += 1
    aside(f"took back {counted(count, 'token')} of {user}; what is bound to the name stays")


def _decoded(text: Any) -> bytes:
    import base64

    return base64.b64decode(text)
