"""Errors of the store; HTTP responds to each with 503 and its code."""

from typing import ClassVar


class StoreError(Exception):
    """The store cannot answer now."""

    code: ClassVar[str]


class StoreUnavailable(StoreError):
    """Redis did not answer."""

    code = "redis_unavailable"


class NoGeneration(StoreError):
    """Nothing has been published yet."""

    code = "no_generation"


class CorruptGeneration(StoreError):
    """A key does not have the type or the form of the contract."""

    code = "corrupt_generation"
