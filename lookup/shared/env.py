"""Parsers for environment variables, shared by batch and lookup. Standard library only.

Each raises SettingError with the variable's name, its value and what was expected. The
value of a secret is never part of the message.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from lookup.shared.keys import PREFIX

SECRET_BYTES = 4096
"""The maximum size of a secret's file, in case another file is named by mistake."""

REDIS_URL_FORM = (
    "redis://[[user]:password@]host[:port][/database], rediss://… or "
    "unix:///path/to/socket"
)
VALKEY = {"valkey": "redis", "valkeys": "rediss"}
"""Schemes that name the same protocols as others."""
PREFIX_FORM = "[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)*"
PREFIX_LENGTH = 64
REDIS_OPTIONS = frozenset(
    {
        *("client_name", "db", "password", "protocol", "username", "ssl_ca_certs"),
        *("ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile"),
        "ssl_check_hostname",
    }
)
"""The options that a Redis URL may carry after its question mark."""


class SettingError(ValueError):
    """A setting has a value that cannot be used."""


def secret(environ: Mapping[str, str], name: str) -> str | None:
    """Read a secret from the variable NAME, or from the file that NAME_FILE names.

    Unlike a variable, a file does not appear in `docker inspect` and is not inherited
    by child processes.
    """
    value, path = environ.get(name), environ.get(f"{name}_FILE")
    if not path:
        return value
    if value:
        raise SettingError(f"{name} and {name}_FILE are both set: expected one of them")
    return _read_line(f"{name}_FILE={path!r}", path)


def _read_line(setting: str, path: str) -> str:
    """Read a file of one line, which may end with a newline."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(SECRET_BYTES + 1)
        lines = content.decode().splitlines()
    except OSError as error:
        raise SettingError(f"{setting}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a path with a null byte
        raise SettingError(f"{setting}: expected a text file") from error
    if len(content) > SECRET_BYTES or len(lines) > 1:
        raise SettingError(
            f"{setting}: expected one line of at most {SECRET_BYTES} bytes"
        )
    if not lines or not lines[0]:
        raise SettingError(f"{setting}: the file is empty")
    return lines[0]


def positive_integer(name: str, text: str) -> int:
    """Read an integer of at least 1 in plain ASCII digits."""
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < 1:
        raise SettingError(f"{name}={text!r}: expected an integer of at least 1")
    return int(text)


def redis_address(environ: Mapping[str, str]) -> str | None:
    """Read REDIS_URL, with REDIS_PASSWORD in it; None stands for the embedded Redis."""
    url, password = secret(environ, "REDIS_URL"), secret(environ, "REDIS_PASSWORD")
    if url:
        url = redis_url("REDIS_URL", url)
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


def redis_prefix(environ: Mapping[str, str]) -> str:
    """Read REDIS_PREFIX, what the names of all keys begin with."""
    text = environ.get("REDIS_PREFIX") or PREFIX
    if not re.fullmatch(PREFIX_FORM, text) or len(text) > PREFIX_LENGTH:
        raise SettingError(
            f"REDIS_PREFIX={text!r}: expected up to {PREFIX_LENGTH} letters, digits, "
            "`_`, `.` and `-`, with single colons between them"
        )
    return text


def redis_url(name: str, text: str) -> str:
    """Check the URL of a Redis server and return it as redis-py takes it."""
    scheme, separator, rest = text.partition("://")
    scheme = VALKEY.get(scheme.lower(), scheme.lower())
    url = f"{scheme}{separator}{rest}" if separator else text
    try:
        parts = urlsplit(url)
        refusal = _refusal(parts)
        problem = refusal or _problem(parts)
    except ValueError as error:
        refusal, problem = None, str(error)
    if problem is None:
        return url
    if "@" not in text and "password" not in text:
        raise SettingError(f"{name}={text!r}: {problem}; expected {REDIS_URL_FORM}")
    hidden = f"{name} (hidden, since it may hold a password)"
    if refusal:
        raise SettingError(f"{hidden}: {refusal}; expected {REDIS_URL_FORM}")
    raise SettingError(
        f"{hidden} is not a valid URL: expected {REDIS_URL_FORM}; in a password, write "
        "/ ? # @ [ ] % as %2F %3F %23 %40 %5B %5D %25, or set REDIS_PASSWORD instead"
    )


def without_password(url: str) -> str:
    """Replace the credentials in a URL by `…`, for messages and logs.

    Databases also accept a password with `/` or `@` in it. So everything up to
    the last `@` is hidden, unless the URL is that of a path (`sqlite:////home/a@b`).
    """
    hidden = re.sub(r"(?<=password=)[^&]*", "…", url)
    return re.sub(r"(^[^/@:]*:/?|(?<!/)//)(?!/).*@", r"\1…@", hidden, flags=re.DOTALL)


def _refusal(url: SplitResult) -> str | None:
    """Describe what is not supported in words that show no password, or return None."""
    if "sentinel" in url.scheme:
        return "Redis Sentinel is not supported: name the primary itself"
    if "," in url.netloc.rpartition("@")[2]:
        return "it names several hosts: name one server, or any node of a cluster"
    return None


def _problem(url: SplitResult) -> str | None:
    """Describe what is wrong with a Redis URL, or return None."""
    if url.scheme not in {"redis", "rediss", "unix"}:
        return f"the scheme is {url.scheme!r}"
    if url.scheme == "unix":
        return _problem_of_options(url) if url.path else "no path of a socket"
    if not url.hostname:
        return "no host"
    if url.port == 0:
        return "the port is 0"
    if url.fragment:
        return f"it ends with '#{url.fragment}'"
    if not re.fullmatch("(/[0-9]{0,9})?", url.path):
        return f"the database is {url.path[1:]!r}"
    return _problem_of_options(url)


def _problem_of_options(url: SplitResult) -> str | None:
    """Describe which option is unknown or has a bad value, or return None."""
    for option, value in parse_qsl(url.query, keep_blank_values=True):
        if option not in REDIS_OPTIONS:
            return f"the option is {option!r}"
        if option == "db" and not re.fullmatch("[0-9]{1,9}", value):
            return f"the option db is {value!r}"
        if option == "protocol" and value != "2":
            return f"the option protocol is {value!r}, and only 2 is supported"
    return None
