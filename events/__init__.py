"""The log: its codec, its two implementations, the fold, the state, the replica and the commit."""
