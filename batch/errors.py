"""What a person is told when a run cannot go on."""


class BatchError(Exception):
    """A failure with one line for stderr: what was wrong, where, and what to do."""


class LockHeld(BatchError):
    """Another batch is at work on the same Redis."""
