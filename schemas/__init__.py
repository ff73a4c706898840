"""What things look like: kinds, defaults, validation, patches, revisions and the event envelope. Pure."""
