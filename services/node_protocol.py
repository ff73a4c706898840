"""What agents and the API agree on beside Kubernetes' API. What an older agent cannot follow raises VERSION."""

from __future__ import annotations

VERSION = 1
OLDEST = 1
"""What an agent speaks, and the oldest that the API understands."""
AGENT = "chronoset-agent/"
"""How agents call themselves (User-Agent), before the version."""
LOG_HEADER = "chronoset-log"
"""The header of every answer of the API that says which log it comes from."""
IDENTITY_FILE = "identity.pem"
"""In the folder of a node of `up`: the certificate, and its key, by which the API that runs there knows the node."""
JOIN_PATH = "/chronoset/v1/join"
AUTHORITY_PATH = "/chronoset/v1/authority"
CERTIFICATE_PATH = "/chronoset/v1/certificate"
NAMES_PATH = "/chronoset/v1/names"
