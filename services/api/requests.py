"""What is asked, as values: a target, its options, and who asks. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.kinds import SUBRESOURCES, Kind, Subresource
from schemas.objects import Key, key_of


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, and how that is known (`token`, `cert`, `none`): Kubernetes' user.Info.

    `impersonator` is the name of who really asks, where somebody asks as another one (kubectl --as).
    """

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    authenticated: str = "none"
    impersonator: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """A request's sender before it is known who that is.

    authorization   the header, as it came
    certificate     the client's, verified by TLS, in DER; empty where it showed none
    address         of the peer
    request         the id that the answer carries in `Audit-Id`, and the event as its command
    wanted          as whom the sender wants to ask (the Impersonate-* headers); None: as himself
    """

    authorization: str = ""
    certificate: bytes = b""
    address: str = ""
    agent: str = ""
    request: str = ""
    wanted: User | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """The query of a request, read: metav1's Get-, List-, Create-, Update-, Patch- and DeleteOptions in one.

    `timeout_seconds` and the counts are 0 where they were not given; what may be given as 0 and means something is
    None where it was not.
    """

    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_token: str = ""
    timeout_seconds: int = 0
    allow_bookmarks: bool = False
    send_initial_events: bool | None = None
    dry_run: bool = False
    field_validation: str = "Warn"
    field_manager: str = ""
    force: bool = False
    grace_seconds: int | None = None
    propagation: str = ""
    orphan: bool | None = None
    expected_uid: str = ""
    expected_version: str = ""
    include: str = "Metadata"
    """How much of each object a row of a Table carries: None, Metadata, Object."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `verb` is one of Kubernetes' request verbs (RequestInfo): `list`, `watch`, `patch`...

    `namespace` is empty for all namespaces and for kinds without; `name` for collections.
    """

    verb: str
    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    options: Options = field(default_factory=Options)

    @property
    def key(self) -> Key:
        """The key of the object named."""
        return key_of(self.kind.stored_as or self.kind.resource, self.namespace, self.name)

    @property
    def part(self) -> Subresource | None:
        """What is known of the subresource, where one is named."""
        return SUBRESOURCES.get(self.subresource)

    @property
    def subject(self) -> str:
        """`statefulsets.apps "web"`, as messages name it."""
        return f'{self.resource} "{self.name}"'

    @property
    def resource(self) -> str:
        """`statefulsets.apps`: plural and group (schema.GroupResource)."""
        return f"{self.kind.plural}.{self.kind.group}" if self.kind.group else self.kind.plural
