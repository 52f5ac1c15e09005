"""Failures that end a run with one line on stderr."""

import errno

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of writing to a full disk, over a quota or over a file size limit."""


class BatchError(Exception):
    """A failure whose message is one line: what went wrong, where, and what to do."""


class NothingToLearn(BatchError):
    """The data hold nothing that a model could learn."""


class LockHeld(BatchError):
    """Another batch holds the lock of the same Redis."""
