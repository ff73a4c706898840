"""What a process of the API makes of the machine it is on."""

from __future__ import annotations

import resource

from services.api.program import FILES, raise_file_limit


def test_as_many_connections_may_be_open_as_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        raise_file_limit()
        found, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == (FILES if hard == resource.RLIM_INFINITY else min(FILES, hard))
