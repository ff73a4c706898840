"""The node's own server: logs, exec and attach, as the kubelet serves them (pkg/kubelet/server)."""
