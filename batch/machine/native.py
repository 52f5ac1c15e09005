"""Compile loops over arrays to machine code."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any], *, is_fused: bool = False) -> Any:
    """Compile a function at its first call and cache the machine code on disk.

    If `is_fused`, a product and a sum may be one instruction, which is faster and
    rounds once: results may differ from those of other processors in the last bit.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    if is_fused:
        options["fastmath"] = {"contract"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no writable folder for the cache
        return njit(**options)(function)
