"""Settings: what the environment, or the cluster that runs in the data directory, says. Read once, at the edge.

Everything below takes a Settings value, so that no other module looks at the environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from schemas.errors import BadRequest, NotFound, Unavailable
from schemas.times import Milliseconds
from services.clusters import ClusterRecord, read_record, remembered_cluster
from services.node_lists import read_names
from services.processes import is_alive
from services.sockets import socket_dir_of

DEFAULT_CLUSTER = "chronoset"
DEFAULT_DATA_DIR = ".chronoset"
KUBECONFIG = "kubeconfig"
"""The file in the data directory by which kubectl finds the API."""
DEFAULT_API_ADDRESS = "127.0.0.1"
API_FOLDER = "api"
"""Where the data directory has the API's keys and certificates."""
DEFAULT_NODE_GRACE: Milliseconds = 40_000
SHORTEST_NODE_GRACE = 1
LONGEST_NODE_GRACE = 86_400
DEFAULT_FINISHED_PODS = 12_500
MOST_FINISHED_PODS = 1_000_000
DEFAULT_SEAL_EVENTS = 5_000
MOST_SEAL_EVENTS = 9_000
DEFAULT_SEAL_AGE: Milliseconds = 3_600_000
DEFAULT_STREAM_EVENTS = 100_000
RUNTIMES = ("process", "docker")
SCHEMES = ("redis", "rediss", "unix")
_is_host = re.compile(r"[A-Za-z0-9:]([-A-Za-z0-9.:]{0,251}[A-Za-z0-9:])?").fullmatch
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Durability(StrEnum):
    """When the log's server calls fsync: before each answer, or once a second (a crash may lose that second)."""

    ALWAYS = "always"
    EVERYSEC = "everysec"


@dataclass(frozen=True, slots=True)
class Settings:
    """One process' view of its cluster.

    `socket_dir` is private to the data directory (services.sockets); the supervisor makes it. The URLs are `redis://`,
    `rediss://` or `unix://`, and may carry a password: print `redacted(url)`. They are left out of the repr. An empty
    one means that `up` starts a server of its own.
    """

    cluster: str
    data_dir: Path
    durability: Durability
    keys_dir: Path
    image_dir: Path
    socket_dir: Path
    log_url: str = field(default="", repr=False)
    queue_url: str = field(default="", repr=False)
    views_url: str = field(default="", repr=False)
    node_names: tuple[str, ...] = ()
    node_grace: Milliseconds = DEFAULT_NODE_GRACE
    """How long nothing may be heard of a node before it is NotReady."""
    api_port: int = 0
    """What the HTTP API listens on; 0: what it listened on before, 6443, or any that is free."""
    archive: str = ""
    """The folder or URL of the log's sealed part; empty: `archive` in the data directory."""
    seal_events: int = DEFAULT_SEAL_EVENTS
    """A segment is sealed when so many events wait for it,"""
    seal_age: Milliseconds = DEFAULT_SEAL_AGE
    """or when the first of them is so old."""
    stream_events: int = DEFAULT_STREAM_EVENTS
    """How many events the log's server keeps in memory though they are sealed."""
    finished_pods: int = DEFAULT_FINISHED_PODS
    """How many pods that have ended are kept; 0: all (--terminated-pod-gc-threshold)."""
    pod_pids: int | None = None
    """How many processes a pod may have, where control groups can be made; None: any number (podPidsLimit)."""
    network_agent: bool = False
    """Whether nodes are not Ready until a network agent has put down their network's configuration."""
    runtime: str = ""
    """What runs containers, one of RUNTIMES; empty: what ran them last time, else plain processes."""
    docker_host: str = ""
    """Where the Docker daemon answers, unix:// or tcp://; empty: at its usual socket."""
    api_address: str = DEFAULT_API_ADDRESS
    """The address that the HTTP API listens on."""
    api_names: tuple[str, ...] = ()
    """More names and addresses by which it is reached, which its certificate then has."""
    health_file: Path | None = None
    """What a program touches when the log answers it (services.health_files)."""
    log_dir: Path | None = None
    """Where the files of the log's server can be seen, if they can: its disk is watched then."""
    metrics_port: int = 0
    """Where Prometheus finds the metrics of all programs of `up`, or of the one that is run alone; 0: nowhere."""
    metrics_address: str = DEFAULT_API_ADDRESS
    kubeconfig: Path | None = None
    """Whose rights a command line's writes have, and which API carries them out; None: the data directory's owner's."""
    direct: bool = False
    """Whether a command line's writes go to the log though an API answers for it."""


def settings_from(environ: Mapping[str, str], data_dir: Path | None = None) -> Settings:
    """Return the settings that `CHRONOSET_*` variables give; an argument wins over its variable, empty is unset.

    Raises BadRequest that names the variable, its value and what would be accepted.
    """

    def value(name: str, default: str = "") -> str:
        return environ.get(f"CHRONOSET_{name}", "") or default

    def path(name: str) -> Path | None:
        return Path(given) if (given := value(name)) else None

    directory = data_dir or Path(value("DATA_DIR", DEFAULT_DATA_DIR))
    log_url, queue_url = _url(environ, "LOG"), _url(environ, "QUEUE")
    if log_url and log_url == queue_url:
        raise BadRequest(
            f"CHRONOSET_QUEUE_URL: {redacted(queue_url)!r} is the log's: give the queue a server or a database "
            "number of its own, for example redis://host:6379/1"
        )
    return Settings(
        cluster=checked_cluster(
            value("CLUSTER", remembered_cluster(directory) or DEFAULT_CLUSTER), "CHRONOSET_CLUSTER"
        ),
        data_dir=directory,
        durability=checked_durability(value("DURABILITY", "always"), "CHRONOSET_DURABILITY"),
        keys_dir=Path(value("KEYS_DIR", str(directory / "keys"))),
        image_dir=Path(value("IMAGE_DIR", str(directory / "images"))),
        socket_dir=socket_dir_of(directory, environ),
        log_url=log_url,
        queue_url=queue_url,
        views_url=_url(environ, "VIEWS") or queue_url,
        node_grace=_grace(value("NODE_GRACE", str(DEFAULT_NODE_GRACE // 1000))),
        archive=value("ARCHIVE"),
        seal_events=_count(value, "SEAL_EVENTS", DEFAULT_SEAL_EVENTS, range(100, MOST_SEAL_EVENTS + 1)),
        seal_age=60_000 * _count(value, "SEAL_MINUTES", DEFAULT_SEAL_AGE // 60_000, range(1, 43_201)),
        stream_events=_count(value, "STREAM_EVENTS", DEFAULT_STREAM_EVENTS, range(1_000_000_001)),
        api_port=checked_port(value("API_PORT", "0"), "CHRONOSET_API_PORT"),
        finished_pods=_finished_pods(value("FINISHED_PODS", str(DEFAULT_FINISHED_PODS))),
        pod_pids=_pod_pids(value("POD_PIDS")),
        network_agent=_flag(value("NETWORK_AGENT", "0"), "CHRONOSET_NETWORK_AGENT"),
        runtime=checked_runtime(value("RUNTIME"), "CHRONOSET_RUNTIME"),
        docker_host=environ.get("DOCKER_HOST", ""),
        api_address=value("API_ADDRESS", DEFAULT_API_ADDRESS),
        api_names=_api_names(value("API_NAMES")),
        health_file=path("HEALTH_FILE"),
        log_dir=path("LOG_DIR"),
        metrics_port=checked_port(value("METRICS_PORT", "0"), "CHRONOSET_METRICS_PORT"),
        metrics_address=value("METRICS_ADDRESS", DEFAULT_API_ADDRESS),
        kubeconfig=path("KUBECONFIG"),
        direct=_flag(value("DIRECT", "0"), "CHRONOSET_DIRECT"),
    )


def joined(settings: Settings) -> Settings:
    """Return settings that can reach a cluster: those given, else those of the cluster in the data directory.

    Raises NotFound (exit 2) where there is neither, Unavailable where it is still starting, and BadRequest where a URL
    is wanting.
    """
    if settings.log_url:
        if not settings.queue_url:
            raise BadRequest(
                "CHRONOSET_QUEUE_URL: is not set, though CHRONOSET_LOG_URL is: name the queue's server"
            )
        return settings
    record = read_record(settings.data_dir)
    if record is None or not is_alive(record.supervisor):
        shown = shown_path(settings.data_dir)
        raise NotFound(f"no cluster runs in {shown}; start one with chronoset up, or set CHRONOSET_LOG_URL")
    if not record.ready:
        raise Unavailable(f"the cluster in {shown_path(settings.data_dir)} is still starting: try again soon")
    return _with_record(settings, record)


def wanted_nodes(settings: Settings) -> tuple[str, ...]:
    """Return the nodes that this machine is to play: those of the list, else those that `up` was started with."""
    names = read_names(settings.data_dir)
    return settings.node_names if names is None else names


def with_servers(settings: Settings, log_url: str, queue_url: str) -> Settings:
    """Return settings that name these servers; the views stay where they were, by default with the queue."""
    return replace(settings, log_url=log_url, queue_url=queue_url, views_url=settings.views_url or queue_url)


def exports(settings: Settings) -> dict[str, str]:
    """Return the variables by which another process joins this cluster; a URL with a password is left out."""
    urls = {"LOG": settings.log_url, "QUEUE": settings.queue_url, "VIEWS": settings.views_url}
    shown = {f"CHRONOSET_{name}_URL": url for name, url in urls.items() if url and not has_password(url)}
    sockets = {f"CHRONOSET_{name}_SOCKET": socket_of(url) for name, url in urls.items()}
    return {
        **shown,
        **{name: path for name, path in sockets.items() if path},
        "CHRONOSET_CLUSTER": settings.cluster,
        "CHRONOSET_DATA_DIR": str(settings.data_dir.absolute()),
        "CHRONOSET_DURABILITY": settings.durability.value,
        "CHRONOSET_KEYS_DIR": str(settings.keys_dir.absolute()),
        "CHRONOSET_IMAGE_DIR": str(settings.image_dir.absolute()),
    }


def checked_cluster(name: str, source: str) -> str:
    """Return the cluster's name. Raises BadRequest where it is no DNS label (RFC 1123: the log's keys carry it)."""
    if _DNS_LABEL.fullmatch(name):
        return name
    raise BadRequest(
        f"{source}: {name!r} is no DNS label: 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
    )


def checked_durability(name: str, source: str) -> Durability:
    """Return the durability. Raises BadRequest for anything but `always` and `everysec`."""
    try:
        return Durability(name)
    except ValueError:
        raise BadRequest(f"{source}: {name!r} is not known: write always or everysec") from None


def checked_port(text: str, source: str) -> int:
    """Return a TCP port, or 0 for whichever. Raises BadRequest for anything else."""
    if text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < 65536:
        return int(text)
    raise BadRequest(
        f"{source}: {text[:40]!r} is no port: write a number from 1 to 65535, or 0 for one that is free"
    )


def checked_runtime(name: str, source: str) -> str:
    """Return the runtime; empty stays empty. Raises BadRequest for anything but RUNTIMES."""
    if name in ("", *RUNTIMES):
        return name
    raise BadRequest(f"{source}: {name!r} is not known: write {' or '.join(RUNTIMES)}")


def redacted(url: str) -> str:
    """Return a URL as it may be printed: every password in it is `***`."""
    parts = urlsplit(url)
    query = [(name, "***" if "password" in name else value) for name, value in parse_qsl(parts.query)]
    netloc = parts.netloc
    if parts.password is not None:
        netloc = f"{parts.username or ''}:***@{netloc.rpartition('@')[2]}"
    options = f"?{urlencode(query, safe='*/')}" if query else ""
    return f"{parts.scheme}://{netloc}{parts.path}{options}"


def has_password(url: str) -> bool:
    """Say whether a URL carries a password anywhere."""
    parts = urlsplit(url)
    return parts.password is not None or any("password" in name for name, _ in parse_qsl(parts.query))


def socket_of(url: str) -> str:
    """Return the path of a `unix://` URL, else nothing."""
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "unix" else ""


def url_of_socket(path: Path) -> str:
    """Return the `unix://` URL of a socket."""
    return f"unix://{quote(str(path))}"


def shown_path(path: Path) -> str:
    """Return a path as people write it: `./.chronoset`."""
    return str(path) if path.is_absolute() or path.parts[:1] == ("..",) else f"./{path}"


def _with_record(settings: Settings, record: ClusterRecord) -> Settings:
    urls = {
        "LOG": record.log_url,
        "QUEUE": settings.queue_url or record.queue_url,
        "VIEWS": settings.views_url or record.views_url,
    }
    for name, url in urls.items():
        if not url:
            raise BadRequest(
                f"CHRONOSET_{name}_URL: is not set, and the cluster in {shown_path(settings.data_dir)} does not tell "
                "its own, since it carries a password: set it as it was set for `up`"
            )
    return replace(
        settings,
        cluster=record.cluster,
        durability=Durability(record.durability),
        log_url=urls["LOG"],
        queue_url=urls["QUEUE"],
        views_url=urls["VIEWS"],
        node_names=read_names(settings.data_dir) or record.node_names,
    )


def _count(value: Callable[[str, str], str], name: str, default: int, accepted: range) -> int:
    """Return a whole number that a variable gives. Raises BadRequest where it is not accepted."""
    text = value(name, str(default))
    if text.isascii() and text.isdecimal() and len(text) < 11 and int(text) in accepted:
        return int(text)
    raise BadRequest(
        f"CHRONOSET_{name}: {text[:40]!r} is not accepted: write a whole number from {accepted.start} to "
        f"{accepted.stop - 1}"
    )


def _finished_pods(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 8 and int(text) <= MOST_FINISHED_PODS:
        return int(text)
    raise BadRequest(
        f"CHRONOSET_FINISHED_PODS: {text[:40]!r} is no number of pods to keep: write a whole number from 0 (all of "
        f"them) to {MOST_FINISHED_PODS}"
    )


def _pod_pids(text: str) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdecimal() and len(text) < 8 and int(text) > 0:
        return int(text)
    raise BadRequest(
        f"CHRONOSET_POD_PIDS: {text[:40]!r} is no number of processes: write a whole number from 1, or nothing for "
        "no limit"
    )


def _grace(text: str) -> Milliseconds:
    """Return a grace period given in whole seconds."""
    if text.isascii() and text.isdecimal() and len(text) < 8:
        seconds = int(text)
        if SHORTEST_NODE_GRACE <= seconds <= LONGEST_NODE_GRACE:
            return seconds * 1000
    raise BadRequest(
        f"CHRONOSET_NODE_GRACE: {text[:40]!r} is no grace period: write whole seconds, "
        f"{SHORTEST_NODE_GRACE} to {LONGEST_NODE_GRACE}"
    )


def _flag(text: str, source: str) -> bool:
    if text in ("0", "1"):
        return text == "1"
    raise BadRequest(f"{source}: {text[:40]!r} is neither yes nor no: write 1 or 0")


def _api_names(text: str) -> tuple[str, ...]:
    """Return the names of `api,10.0.0.5`. Raises BadRequest where one can stand in no certificate."""
    names = tuple(name for each in text.split(",") if (name := each.strip()))
    for name in names:
        if not _is_host(name):
            raise BadRequest(
                f"CHRONOSET_API_NAMES: {name!r} is no host name; write some, as api.example.org,10.0.0.5"
            )
    return names


def _url(environ: Mapping[str, str], name: str) -> str:
    url = environ.get(f"CHRONOSET_{name}_URL", "")
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        good = parts.scheme in SCHEMES and bool(parts.hostname if parts.scheme != "unix" else parts.path)
        good = good and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise BadRequest(
            f"CHRONOSET_{name}_URL: {_shown(url)!r} is no server: write redis://host:6379/0, "
            "rediss://user:password@host:6380/0 or unix:///path/to/socket"
        )
    return _with_password(url, environ.get(f"CHRONOSET_{name}_PASSWORD", ""))


def _with_password(url: str, password: str) -> str:
    """Return a URL with a password of any characters, which may be told apart from it; its own one wins."""
    if not password or has_password(url):
        return url
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{quote(password, safe='')}@{place}"))


def _shown(url: str) -> str:
    """Return what may be printed of something that may not even be a URL: nothing that could be a password."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://***@{tail}" if at else url.partition("?")[0]
