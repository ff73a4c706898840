"""The demo: a StatefulSet's life and a DaemonSet's on real processes, told step by step with what was observed."""
