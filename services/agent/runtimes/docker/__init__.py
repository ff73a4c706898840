"""The docker runtime: a pod is a container that holds its network, and beside it those that its spec names.

What the Docker Engine API (dockerd, or podman behind its socket) is asked is here; what the answers mean for a pod is
not. Modules: `runtime` is the port; `specs` says what a container is to be (pure), `sandboxes` what a pod is,
`images` what is pulled; `sessions`, `logs` and `ends` read what comes back.
"""
