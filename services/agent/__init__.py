"""The node agent: runs the pods that are bound to its node, and says how they are."""
