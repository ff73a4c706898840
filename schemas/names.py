"""The syntax of names, labels and values, as apimachinery's util/validation has it.

One place, because selectors, documents and validation ask the same questions. Each function answers with the
messages of what is wrong (none: the value is good), so that a caller adds the field they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"

_is_label = re.compile(_LABEL).fullmatch
_is_label_1035 = re.compile(_LABEL_1035).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_qualified = re.compile(_QUALIFIED).fullmatch
_is_label_value = re.compile(_LABEL_VALUE).fullmatch
_is_config_key = re.compile(_CONFIG_KEY).fullmatch

_ENDS = "and must start and end with an alphanumeric character"


def _too_long(value: str, limit: int) -> Iterator[str]:
    if len(value) > limit:
        yield f"must be no more than {limit} characters"


def dns_label_problems(value: str) -> Iterator[str]:
    """A lowercase RFC 1123 label of at most 63 characters (Namespace names, container names)."""
    yield from _too_long(value, 63)
    if not _is_label(value):
        yield (
            f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_ENDS} "
            f"(e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
        )


def dns_1035_problems(value: str) -> Iterator[str]:
    """A DNS-1035 label of at most 63 characters (Service names): an RFC 1123 label not led by a digit."""
    yield from _too_long(value, 63)
    if not _is_label_1035(value):
        yield (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
            "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
            f"regex used for validation is '{_LABEL_1035}')"
        )


def dns_subdomain_problems(value: str) -> Iterator[str]:
    """A lowercase RFC 1123 subdomain of at most 253 characters (most object names)."""
    yield from _too_long(value, 253)
    if not _is_subdomain(value):
        yield (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            f"{_ENDS} (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
        )


def qualified_name_problems(value: str) -> Iterator[str]:
    """A label or annotation key: a name of at most 63 characters, optionally `<DNS subdomain>/` before."""
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        yield (
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', "
            f"{_ENDS} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
        return
    if slash and not prefix:
        yield "prefix part must be non-empty"
    elif slash:
        yield from (f"prefix part {problem}" for problem in dns_subdomain_problems(prefix))
    if not name:
        yield "name part must be non-empty"
        return
    yield from (f"name part {problem}" for problem in _too_long(name, 63))
    if not _is_qualified(name):
        yield (
            f"name part must consist of alphanumeric characters, '-', '_' or '.', {_ENDS} "
            f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
        )


def label_value_problems(value: str) -> Iterator[str]:
    """A label's value: empty, or at most 63 characters of alphanumerics, `-`, `_` and `.`."""
    yield from _too_long(value, 63)
    if not _is_label_value(value):
        yield (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            f"{_ENDS} (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
            f"'{_LABEL_VALUE}')"
        )


def config_key_problems(value: str) -> Iterator[str]:
    """A key of a ConfigMap or Secret: at most 253 of alphanumerics, `-`, `_`, `.`, and no path step."""
    yield from _too_long(value, 253)
    if not _is_config_key(value):
        yield (
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
            f"(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '{_CONFIG_KEY}')"
        )
    if value in (".", ".."):
        yield f"must not be '{value}'"
    elif value.startswith(".."):
        yield "must not start with '..'"


def port_name_problems(value: str) -> Iterator[str]:
    """An IANA service name: at most 15 of `a-z0-9-`, at least one letter, no `--`, no `-` at the ends."""
    if len(value) > 15:
        yield "must be no more than 15 characters"
    if not re.fullmatch("[-a-z0-9]+", value):
        yield "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not re.search("[a-z]", value):
        yield "must contain at least one letter (a-z)"
    if "--" in value:
        yield "must not contain consecutive hyphens"
    if value.startswith("-") or value.endswith("-"):
        yield "must not begin or end with a hyphen"


def env_name_problems(value: str) -> Iterator[str]:
    """The name of an environment variable: printable ASCII without `=` (relaxed since Kubernetes 1.34)."""
    if not value or not all(" " <= character <= "~" and character != "=" for character in value):
        yield (
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        )


def path_segment_problems(value: str) -> Iterator[str]:
    """What may stand between two slashes of a path (names of roles and their bindings, as `system:node`)."""
    if value in (".", ".."):
        yield f"may not be '{value}'"
    yield from (f"may not contain '{each}'" for each in "/%" if each in value)
