"""The projections: what the log comes to, in Redis, for the command line and for programs in any language."""
