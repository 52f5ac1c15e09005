"""The lookup's settings, read once from the environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from lookup.shared.env import (
    SettingError,
    positive_integer,
    redis_address,
    redis_prefix,
    secret,
)
from lookup.shared.keys import PREFIX

K_DEFAULT = 10
CACHE_MB = 64
PAGE_TITLE = "MovieLens-XGB"

ROUTES = frozenset(
    {
        *("about", "health", "items", "metrics", "new", "openapi.json", "popular"),
        *("ready", "recommend", "search", "session", "similar", "static", "trending"),
        "users",
    }
)
"""First segments of routes: below one of them, `/ready` could mean either."""


@dataclass(frozen=True)
class Settings:
    """The settings, with their defaults."""

    redis_url: str | None = None
    redis_prefix: str = PREFIX
    k_default: int = K_DEFAULT
    api_key: str | None = field(default=None, repr=False)
    cache_mb: int = CACHE_MB
    cors_origins: tuple[str, ...] = ()
    log_requests: bool = False
    root_path: str = ""
    page_title: str = PAGE_TITLE

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read and check the settings; an empty variable counts as unset.

        Raises:
            SettingError: names the first bad variable.
        """
        key = secret(environ, "LOOKUP_API_KEY")
        origins = environ.get("LOOKUP_CORS_ORIGINS")
        return cls(
            redis_url=redis_address(environ),
            redis_prefix=redis_prefix(environ),
            k_default=positive_integer(
                "K_DEFAULT", environ.get("K_DEFAULT") or str(K_DEFAULT)
            ),
            api_key=_api_key(key) if key else None,
            cache_mb=_cache_mb(environ.get("LOOKUP_CACHE_MB") or str(CACHE_MB)),
            cors_origins=_cors_origins(origins) if origins else (),
            log_requests=_log_requests(environ.get("LOOKUP_LOG") or "errors"),
            root_path=root_path(
                "LOOKUP_ROOT_PATH", environ.get("LOOKUP_ROOT_PATH") or ""
            ),
            page_title=_page_title(environ.get("PAGE_TITLE") or PAGE_TITLE),
        )


def root_path(name: str, text: str) -> str:
    """Read the path below which a proxy serves the API; `/` and nothing stand for none.

    Raises SettingError, naming the setting, if it is no plain path or that of a route.
    """
    path = text.removesuffix("/")
    if not re.fullmatch(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*", path):
        raise SettingError(
            f"{name}={text!r}: expected a path such as /recs, of letters, digits and "
            "-._~ between single slashes"
        )
    if not ROUTES.isdisjoint(path.split("/")[1:2]):
        raise SettingError(
            f"{name}={text!r}: begins like a route of the API; expected a path such as "
            "/recs"
        )
    return path


def _api_key(text: str) -> str:
    """Check a key, which must fit into an HTTP header and is never logged."""
    if not text.isprintable() or text != text.strip():
        raise SettingError(
            f"LOOKUP_API_KEY (hidden, {len(text)} characters): expected printable "
            "characters, with no blank at either end"
        )
    return text


def _cache_mb(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise SettingError(
            f"LOOKUP_CACHE_MB={text!r}: expected megabytes from 0 (no cache) to 999999"
        )
    return int(text)


def _cors_origins(text: str) -> tuple[str, ...]:
    """Read origins separated by commas, or `*` for all."""
    origins = tuple(part.strip() for part in text.split(","))
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/?#\s,*]+", origin):
            raise SettingError(
                f"LOOKUP_CORS_ORIGINS={text!r}: {origin!r} is not an origin; expected "
                "https://host:port, several separated by commas, or *"
            )
    return origins


def _page_title(text: str) -> str:
    if not text.isprintable() or not text.strip() or len(text) > 100:
        raise SettingError(
            f"PAGE_TITLE={text!r}: expected up to 100 printable characters"
        )
    return text


def _log_requests(text: str) -> bool:
    if text not in {"errors", "requests"}:
        raise SettingError(f"LOOKUP_LOG={text!r}: expected 'errors' or 'requests'")
    return text == "requests"
