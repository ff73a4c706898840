"""The file by which kubectl, and any Kubernetes client, finds a cluster, trusts it and is trusted by it."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import yaml


def kubeconfig(
    server: str,
    authority: bytes,
    cluster: str,
    user: str,
    credentials: Mapping[str, str],
    namespace: str = "",
) -> bytes:
    """Return a kubeconfig of one context, named after the cluster.

    `authority` is the certificate to trust, in PEM; `credentials` what a user of a kubeconfig has: `token`, or
    `client-certificate-data` and `client-key-data`.
    """
    known = {"server": server, "certificate-authority-data": encoded(authority)}
    context = {"cluster": cluster, "user": user, **({"namespace": namespace} if namespace else {})}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": known}],
        "users": [{"name": user, "user": dict(credentials)}],
        "contexts": [{"name": cluster, "context": context}],
        "current-context": cluster,
    }
    return yaml.safe_dump(config, sort_keys=False).encode()


def encoded(pem: bytes) -> str:
    """Return what a field that ends in -data holds."""
    return base64.b64encode(pem).decode()
