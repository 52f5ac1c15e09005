"""Failures that end a run with one line on stderr."""

import errno

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk, a quota and a limit on the size of files raise."""


class BatchError(Exception):
    """A failure with one line for stderr: what was wrong, where, and what to do."""


class LockHeld(BatchError):
    """Another batch is at work on the same Redis."""
