"""The write decisions that the command line and the HTTP API share: from a wish to changes, purely."""
