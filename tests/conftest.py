"""What all tests share: programs that are tested in this process log nothing."""

from __future__ import annotations

import structlog

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
