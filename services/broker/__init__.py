"""The queue: which keys are dirty, who looks at them, and that nobody who dies takes one along."""
