"""Runtimes: what starts and stops containers. One port, several adapters."""
