"""Which loopback address a process pod gets.

All of 127.0.0.0/8 is on Linux' loopback device, so a pod can have an address of its own without any set-up. It is
a hash of who the pod is: of (cluster, namespace, name) for a StatefulSet's pod, whose name is set and ordinal, so
that a replacement keeps it; of the uid for any other pod.

Two of n identities share a first choice with probability n^2 / 33 million (1,000 pods: 3 %). The later one then takes
its next choice, as long as the other one's address is in use; it may move back to its first choice when it is
replaced after the other is gone. Nothing but the address's stability in that case depends on this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container

from schemas.objects import Object, controller_of

_CHOICES = 64


def identity_of(pod: Object, cluster: str) -> str:
    """Return what a pod's address is derived from: the same text for every pod of one ordinal of one set."""
    metadata = pod["metadata"]
    owner = controller_of(pod)
    if owner is not None and owner["kind"] == "StatefulSet":
        return f"{cluster}/{metadata['namespace']}/{metadata['name']}"
    return f"{cluster}/{metadata['uid']}"


def address_of(identity: str, taken: Container[str]) -> str:
    """Return the first choice of `identity` in 127.1.0.0 - 127.254.255.255 that is not in `taken`.

    127.0.0.0/16 (localhost and friends) and last bytes 0 and 255 (network and broadcast of a /24) are never
    chosen. After 64 choices that are all taken the first is returned: so full a host cannot be helped here.
    """
    choices = (_choice(identity, number) for number in range(_CHOICES))
    return next((choice for choice in choices if choice not in taken), _choice(identity, 0))


def _choice(identity: str, number: int) -> str:
    digest = hashlib.sha256(f"{number}:{identity}".encode()).digest()
    return f"127.{1 + digest[0] % 254}.{digest[1]}.{1 + digest[2] % 254}"
