"""The control plane over its HTTP API: what an agent on another machine has of it."""
