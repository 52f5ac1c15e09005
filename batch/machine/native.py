"""Compile loops over arrays to machine code."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call and cache the machine code on disk."""
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no writable folder for the cache
        return njit(nogil=True, error_model="numpy")(function)
