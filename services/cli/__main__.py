"""`python -m services.cli` is `chronoset`."""

from __future__ import annotations

import sys

from services.cli.program import main

sys.exit(main())
