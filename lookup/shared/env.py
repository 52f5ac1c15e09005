"""The lookup's settings, read once from the environment. Standard library only."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

K_DEFAULT = 10
CACHE_MB = 64
SECRET_BYTES = 4096
"""What the file of a secret has at most: whoever names another file is told so."""

REDIS_OPTIONS = frozenset(
    {
        "client_name",
        "db",
        "password",
        "protocol",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "username",
    }
)
"""The options that a Redis URL may carry after its question mark."""


ENCODED = (
    "it cannot be told where its password ends; there / ? # @ [ ] % are written %2F "
    "%3F %23 %40 %5B %5D %25, or it is given apart as REDIS_PASSWORD"
)


class SettingError(ValueError):
    """A setting that cannot be used; says which, its value and what was expected."""


@dataclass(frozen=True)
class Settings:
    """What the environment asks of the lookup."""

    redis_url: str | None = None
    k_default: int = K_DEFAULT
    api_key: str | None = field(default=None, repr=False)
    cache_mb: int = CACHE_MB
    cors_origins: tuple[str, ...] = ()
    log_requests: bool = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read and check the settings; a variable that is empty counts as unset.

        Raises SettingError for the first one that is bad.
        """
        url = redis_address(environ)
        k_default = environ.get("K_DEFAULT")
        key = secret(environ, "LOOKUP_API_KEY")
        cache_mb = environ.get("LOOKUP_CACHE_MB")
        origins = environ.get("LOOKUP_CORS_ORIGINS")
        logged = environ.get("LOOKUP_LOG")
        return cls(
            redis_url=url,
            k_default=positive_integer("K_DEFAULT", k_default or str(K_DEFAULT)),
            api_key=_api_key("LOOKUP_API_KEY", key) if key else None,
            cache_mb=_megabytes("LOOKUP_CACHE_MB", cache_mb or str(CACHE_MB)),
            cors_origins=_origins("LOOKUP_CORS_ORIGINS", origins) if origins else (),
            log_requests=_log_requests("LOOKUP_LOG", logged or "errors"),
        )


def secret(environ: Mapping[str, str], name: str) -> str | None:
    """Read a setting that may be given as NAME, or in a file that NAME_FILE names.

    What is in a file is neither in `docker inspect` nor handed on to other programs.
    Raises SettingError, which never shows what is in the file.
    """
    value, path = environ.get(name), environ.get(f"{name}_FILE")
    if not path:
        return value
    if value:
        raise SettingError(f"{name} and {name}_FILE are both set: expected one of them")
    return _line_of(f"{name}_FILE={path!r}", path)


def _line_of(named: str, path: str) -> str:
    """Read a file of one line, which may end with a newline."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(SECRET_BYTES + 1)
        lines = content.decode().splitlines()
    except OSError as error:
        raise SettingError(f"{named}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a path with a null byte
        raise SettingError(f"{named}: expected a file of text") from error
    if len(content) > SECRET_BYTES or len(lines) > 1:
        raise SettingError(
            f"{named}: expected one line of at most {SECRET_BYTES} bytes"
        )
    if not lines or not lines[0]:
        raise SettingError(f"{named}: the file is empty")
    return lines[0]


def positive_integer(name: str, text: str) -> int:
    """Read an integer of at least 1 in plain ASCII digits, or raise SettingError."""
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < 1:
        raise SettingError(f"{name}={text!r}: expected an integer of at least 1")
    return int(text)


def redis_url(name: str, text: str) -> str:
    """Check the URL of a Redis server and return it, or raise SettingError."""
    problem = _problem_of_url(text)
    if problem:
        raise SettingError(
            f"{name}={without_password(text)!r}: {problem}; expected "
            "redis://[[user]:password@]host[:port][/database], rediss://… or "
            "unix:///path/to/socket"
        )
    return text


def redis_address(environ: Mapping[str, str]) -> str | None:
    """Read the Redis that is meant, None for the embedded one.

    Its password may be given apart from its URL, as it is, with no encoding. Raises
    SettingError.
    """
    url, password = secret(environ, "REDIS_URL"), secret(environ, "REDIS_PASSWORD")
    if url:
        redis_url("REDIS_URL", url)
    if not password:
        return url or None
    if not url:
        raise SettingError("REDIS_PASSWORD is set: expected REDIS_URL to be set too")
    parts = urlsplit(url)
    if parts.password is not None or "password=" in parts.query:
        raise SettingError("REDIS_PASSWORD and a password in REDIS_URL: expected one")
    user, _, place = parts.netloc.rpartition("@")
    netloc = f"{user}:{quote(password, safe='')}@{place}"
    return parts._replace(netloc=netloc).geturl()


def without_password(url: str) -> str:
    """Hide the passwords of a URL, for messages and logs.

    Where one ends is not for sure: people write `/`, `?`, `#` and `@` into them as they
    are, and databases take that. So all before the last `@` is hidden, but in paths.
    """
    hidden = re.sub(r"(?<=password=)[^&]*", "…", url)
    if "://" in hidden:
        return re.sub(r"(?<!/)//(?!/).*@", "//…@", hidden, flags=re.DOTALL)
    return re.sub(r"^[^/@:]*:.*@", "…@", hidden, flags=re.DOTALL)


def _problem_of_url(text: str) -> str | None:
    """Say what is wrong with a Redis URL, None if nothing is.

    What stands before an `@` is not shown: it may be a password, or a piece of one.
    """
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        return ENCODED if "@" in text else str(error)
    scheme = "" if "@" in url.path and not url.netloc else url.scheme
    if scheme not in {"redis", "rediss", "unix"}:
        return f"the scheme is {scheme!r}"
    if scheme == "unix":
        return _problem_of_options(url) if url.path else "no path of a socket"
    if not url.hostname or port == 0:
        return "no host" if port != 0 else "the port is 0"
    if "@" in url.path or url.fragment:
        return ENCODED
    if not re.fullmatch("(/[0-9]{0,9})?", url.path):
        return f"the database is {url.path[1:]!r}"
    return _problem_of_options(url)


def _problem_of_options(url: SplitResult) -> str | None:
    """Say which option of a Redis URL is not known or not usable, None if all are."""
    for option, value in parse_qsl(url.query, keep_blank_values=True):
        if option not in REDIS_OPTIONS:
            return ENCODED if "@" in url.query else f"the option is {option!r}"
        if option in {"db", "protocol"} and not re.fullmatch("[0-9]{1,9}", value):
            return ENCODED if "@" in value else f"the option {option} is {value!r}"
    return None


def _api_key(name: str, text: str) -> str:
    """Check a key that must survive in an HTTP header; never show it."""
    if not text.isprintable() or text != text.strip():
        raise SettingError(
            f"{name} (hidden, {len(text)} characters): expected printable characters, "
            "with no blank at either end"
        )
    return text


def _megabytes(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise SettingError(
            f"{name}={text!r}: expected megabytes from 0, which is none, to 999999"
        )
    return int(text)


def _origins(name: str, text: str) -> tuple[str, ...]:
    """Read the origins of web pages that may ask, or `*` for all."""
    origins = tuple(part.strip() for part in text.split(","))
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/?#\s,*]+", origin):
            raise SettingError(
                f"{name}={text!r}: {origin!r} is no origin; expected some like "
                "https://host:port with commas between, or *"
            )
    return origins


def _log_requests(name: str, text: str) -> bool:
    if text not in {"errors", "requests"}:
        raise SettingError(f"{name}={text!r}: expected 'errors' or 'requests'")
    return text == "requests"
