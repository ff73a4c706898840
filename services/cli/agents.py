"""`chronoset agent`: machines that join a cluster elsewhere, over its HTTP API."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer

from schemas.errors import BadRequest
from services.cli.options import ActorName, DataDir, Group
from services.cli.tokens import list_tokens, revoke
from services.settings import Settings, joined, settings_from

if TYPE_CHECKING:
    from services.joining import Membership

SHORTEST = 60
LONGEST = 30 * 86_400
TTL = "24h"

app = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""Join a cluster as a node, and make the tokens for that.

    \b
    Example:
      chronoset agent token create
      chronoset agent join https://10.0.0.1:6443 --token T --ca-hash sha256:...
    """,
)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ONLY_HERE = (
    "this URL reaches the API from this machine only: start the cluster with CHRONOSET_API_ADDRESS=ADDRESS, or name "
    "with --url how others reach it"
)
token_app = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""Tokens by which machines join, and those that are known.

    \b
    Example:
      chronoset agent token create --ttl 1h
      chronoset agent token list
    """,
)
app.add_typer(token_app, name="token")
token_app.command("list")(list_tokens)
token_app.command()(revoke)


@app.command()
def join(
    url: Annotated[str, typer.Argument(metavar="[URL]", help="The API's, as https://10.0.0.1:6443.")] = "",
    token: Annotated[str, typer.Option("--token", metavar="TOKEN", help="From `agent token create`.")] = "",
    ca_hash: Annotated[
        str, typer.Option("--ca-hash", metavar="sha256:HEX", help="Of the cluster's authority.")
    ] = "",
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="FILE", help="The authority itself, instead of its hash.")
    ] = None,
    node_name: Annotated[
        str, typer.Option("--node-name", metavar="NAME", help="Default: this host's name.")
    ] = "",
    node_ip: Annotated[
        str,
        typer.Option("--node-ip", metavar="IP", help="Where others reach it (default: on the way to URL)."),
    ] = "",
    runtime: Annotated[
        str, typer.Option("--runtime", metavar="NAME", help="What runs containers: process or docker.")
    ] = "",
    keep_pods: Annotated[
        bool, typer.Option("--keep-pods", help="When told to end, let the pods run on.")
    ] = False,
    print_systemd_unit: Annotated[
        bool, typer.Option("--print-systemd-unit", help="Join, print a unit that runs the agent, and end.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Make this machine a node of a cluster, and run its agent in the foreground; its log goes to stdout.

    The token is exchanged for an identity of this one node, kept in the data directory: later, `chronoset agent join`
    alone runs the agent again. Pods get the node's address, so their ports must differ; names are the cluster's.

    \b
    Example:
      chronoset agent join https://10.0.0.1:6443 --token T --ca-hash sha256:... --node-name n4
      chronoset agent join
      chronoset agent join --print-systemd-unit > /etc/systemd/system/chronoset-agent.service
    """
    from services.settings import checked_runtime

    settings = settings_from(os.environ, data_dir)
    settings = replace(settings, data_dir=settings.data_dir.resolve())
    if runtime:
        settings = replace(settings, runtime=checked_runtime(runtime, "--runtime"))
    membership = _membership(settings, (url, token, ca_hash, ca), node_name, node_ip)
    if print_systemd_unit:
        sys.stdout.write(_unit(membership, settings))
        return
    from services.joining import run_member
    from services.programs import run_in_foreground

    raise typer.Exit(run_in_foreground(partial(run_member, keeps_pods=keep_pods), "agent", settings))


@token_app.command()
def create(
    ttl: Annotated[
        str, typer.Option("--ttl", metavar="TIME", help="How long it holds, as 30m or 24h.")
    ] = TTL,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="How other machines reach the API, if it cannot tell.")
    ] = "",
    actor: ActorName = "",
    data_dir: DataDir = None,
) -> None:
    """Make a join token, and print the whole command by which a machine joins. The token is shown here only.

    Any number of machines may join by it while it holds. What they get for it, their identities, holds on.

    \b
    Example:
      chronoset agent token create --ttl 1h
    """
    from services.api.identity.tokens import BOOTSTRAPPERS, new_token, secret_of
    from services.cli.moments import parse_duration
    from services.cli.session import Session, new_command_id, now_ms
    from services.commands.commands import Apply
    from services.joining import checked_url, hash_of

    try:
        seconds = int(parse_duration(ttl))
    except BadRequest as error:
        raise BadRequest(str(error).replace("--timeout", "--ttl")) from None
    if not SHORTEST <= seconds <= LONGEST:
        raise BadRequest(f"--ttl: {ttl!r} is out of range; write 1m to 720h")
    settings = joined(settings_from(os.environ, data_dir))
    server, authority = _api_of(settings)
    place = checked_url(url) if url else _reachable(server)
    session = Session(settings)
    token = new_token()
    name = f"system:bootstrap:{token.partition('.')[0]}"
    secret = secret_of(token, name, (BOOTSTRAPPERS,), now_ms() + seconds * 1000)
    session.executor.execute(Apply(secret), session.actor(actor), new_command_id())
    print(f"chronoset agent join {place} --token {token} --ca-hash {hash_of(authority)}")
    if urlsplit(place).hostname in _LOOPBACK:
        print(_ONLY_HERE, file=sys.stderr)


def _membership(
    settings: Settings, invited: tuple[str, str, str, Path | None], node_name: str, node_ip: str
) -> Membership:
    """Return what this machine is: as it has joined before, or by joining now. Raises BadRequest."""
    from services.joining import Invitation, checked_address, checked_url, read_membership, write_membership
    from services.joining import join as join_cluster
    from services.node_lists import checked_name

    url, token, ca_hash, ca = invited
    address = checked_address(node_ip) if node_ip else ""
    known = read_membership(settings.data_dir)
    if known is not None and node_name and node_name != known.node:
        raise BadRequest(
            f"--node-name: {node_name[:80]!r} is not the node of {settings.data_dir}, which is {known.node!r}: "
            "leave it out, or name another --data-dir"
        )
    if known is not None and not token:
        changed = replace(known, url=checked_url(url) if url else known.url, address=address or known.address)
        if changed != known:
            write_membership(settings.data_dir, changed)
        return changed
    if not url or not token:
        missing = "URL" if not url else "--token"
        raise BadRequest(f"{missing}: is missing: write what `chronoset agent token create` prints")
    name = checked_name(known.node if known else node_name or socket.gethostname().lower())
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return join_cluster(Invitation(url, token, ca_hash, ca), name, address, settings.data_dir)


def _unit(membership: Membership, settings: Settings) -> str:
    """Return a unit that runs this agent as it is asked for now."""
    from services.cli.units import agent_unit

    command = [sys.executable, "-m", "services.cli", "agent", "join", "--keep-pods"]
    command += ["--data-dir", str(settings.data_dir)]
    if settings.runtime:
        command += ["--runtime", settings.runtime]
    return agent_unit(membership.node, command, os.environ)


def _api_of(settings: Settings) -> tuple[str, str]:
    """Return the URL and the authority of the API, as its kubeconfig tells them."""
    import base64

    import yaml

    from services.cli.kubeconfigs import administrators

    known: Any = yaml.safe_load(administrators(settings))["clusters"][0]["cluster"]
    return str(known["server"]), base64.b64decode(known["certificate-authority-data"]).decode()


def _reachable(server: str) -> str:
    """Return the API's URL by which other machines reach it: not by a loopback address, where there is another."""
    from services.api.identity.authorities import names_of_machine

    parts = urlsplit(server)
    if parts.hostname != "127.0.0.1":
        return server
    addresses = [name for name in names_of_machine() if name[:1].isdigit() and not name.startswith("127.")]
    if os.environ.get("CHRONOSET_API_ADDRESS") not in ("0.0.0.0", "::") or not addresses:
        return server
    return urlunsplit(parts._replace(netloc=f"{addresses[0]}:{parts.port}"))
