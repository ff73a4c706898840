"""The demo: a StatefulSet's life on real processes, told step by step with what was observed."""
