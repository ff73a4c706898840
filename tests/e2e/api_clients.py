"""The official client library, which leaves connections open."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from kubernetes import client, config


@contextmanager
def api_client(kubeconfig: str) -> Iterator[client.ApiClient]:
    """Yield a client; at the end its connections are closed, those of watches that nobody reads any more too.

    Collected later, in a test of something else, they would be warned of there.
    """
    with config.new_client_from_config(kubeconfig) as found:
        yield found
    found.rest_client.pool_manager.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
