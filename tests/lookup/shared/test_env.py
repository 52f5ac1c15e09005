"""The settings and how bad ones are refused."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio.connection import parse_url

from lookup.shared.env import (
    SettingError,
    Settings,
    positive_integer,
    redis_url,
    secret,
    without_password,
)


def test_defaults() -> None:
    """Nothing has to be set."""
    assert Settings.from_environ({}) == Settings(None, 10, None)


def test_empty_is_unset() -> None:
    """Compose passes on what is not set as an empty text."""
    empty = {"REDIS_URL": "", "K_DEFAULT": "", "LOOKUP_API_KEY": ""}
    assert Settings.from_environ(empty) == Settings()


def test_all_are_read() -> None:
    """Each variable reaches its field."""
    environ = {
        "REDIS_URL": "redis://localhost:6379/0",
        "K_DEFAULT": "5",
        "LOOKUP_API_KEY": "secret",
    }
    expected = Settings("redis://localhost:6379/0", 5, "secret")
    assert Settings.from_environ(environ) == expected


def test_key_is_not_shown() -> None:
    """A key does not get into a log by way of repr."""
    assert "secret" not in repr(Settings(api_key="secret"))


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", " 5", "5 ", "٣", "1" * 19])
def test_bad_integers_are_named(text: str) -> None:
    """The message has the name, the value and what was expected."""
    with pytest.raises(SettingError) as caught:
        Settings.from_environ({"K_DEFAULT": text})
    assert f"K_DEFAULT={text!r}: expected an integer of at least 1" in str(caught.value)
    with pytest.raises(SettingError, match="TOP_N="):
        positive_integer("TOP_N", text)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/3",
        "redis://:p%40ss@redis:6379",
        "rediss://user:word@host:6380/0?ssl_cert_reqs=none",
        "redis://[::1]:6379/0",
        "unix:///run/redis.sock?db=2",
    ],
)
def test_good_urls_are_those_that_redis_takes(url: str) -> None:
    """What passes here is what redis-py can use."""
    assert redis_url("REDIS_URL", url) == url
    parse_url(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("localhost:6379", "the scheme is 'localhost'"),
        ("http://localhost", "the scheme is 'http'"),
        ("redis://", "no host"),
        ("redis://host:port", "'port'"),
        ("redis://host:99999", "out of range"),
        ("redis://host:0", "the port is 0"),
        ("redis://host/x", "the database is 'x'"),
        ("redis://host/0?sokket=5", "the option is 'sokket'"),
        ("redis://host?db=x", "the option db is 'x'"),
        ("unix://", "no path"),
    ],
)
def test_bad_urls_are_named(url: str, problem: str) -> None:
    """The message says what is wrong with the URL."""
    with pytest.raises(SettingError, match="REDIS_URL=") as caught:
        redis_url("REDIS_URL", url)
    assert problem in str(caught.value)
    assert url in str(caught.value)


def test_passwords_are_hidden() -> None:
    """Neither a message nor a log shows one."""
    assert without_password("redis://u:p@h:1/0") == "redis://…@h:1/0"
    assert without_password("redis://:a@b@h") == "redis://…@h"
    assert without_password("redis://h?password=p&db=1") == "redis://h?password=…&db=1"
    assert without_password("postgresql://u:a/b?c#d@h/db") == "postgresql://…@h/db"
    assert (
        without_password("https://token@h/?password=p@q") == "https://…@h/?password=…"
    )
    assert without_password("u:p@h:6379") == "…@h:6379"


@pytest.mark.parametrize(
    "path", ["sqlite:////home/me@work/x.db", "/home/a:b@c/raw", "unix:///run/a@b.sock"]
)
def test_a_path_is_shown_as_it_is(path: str) -> None:
    """It has no password, and is to be found."""
    assert without_password(path) == path


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@h:x",
        "redis://:sec/ret@h",
        "redis://:sec?ret@h",
        "redis://:sec#ret@h",
        "redis://u:12/sec@h",
        "redis://u:12?sec@h",
        "redis://u:12?db=sec@h",
        "redis://u:12#sec@h",
        "redis://:[sec]@h",
        "redis://:sec]ret@h",
        "u:sec@h:6379",
        "sec:ret@h",
    ],
)
def test_no_piece_of_a_password_is_shown(url: str) -> None:
    """Nor where it cannot be told where it ends."""
    with pytest.raises(SettingError, match="REDIS_URL=") as caught:
        redis_url("REDIS_URL", url)
    told = str(caught.value).replace("expected redis://[[user]:password@]host", "")
    assert "sec" not in told
    assert "ret" not in told
    assert "12" not in told


@pytest.mark.parametrize("key", [" key", "key\n", "a\x00b"])
def test_bad_keys_are_refused_unseen(key: str) -> None:
    """A key that no header can carry is refused, and not shown."""
    with pytest.raises(SettingError, match="LOOKUP_API_KEY") as caught:
        Settings.from_environ({"LOOKUP_API_KEY": key})
    assert key not in str(caught.value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_may_be_in_a_file(tmp_path: Path, end: str) -> None:
    """Without the newline with which editors end it; an empty variable is none."""
    (tmp_path / "url").write_bytes(f"redis://:pässword@h:1{end}".encode())
    (tmp_path / "key").write_bytes(f"a key{end}".encode())
    environ = {
        "REDIS_URL": "",
        "REDIS_URL_FILE": str(tmp_path / "url"),
        "LOOKUP_API_KEY_FILE": str(tmp_path / "key"),
    }
    expected = Settings(redis_url="redis://:pässword@h:1", api_key="a key")
    assert Settings.from_environ(environ) == expected
    unset = {"LOOKUP_API_KEY": "other", "LOOKUP_API_KEY_FILE": ""}
    assert secret(unset, "LOOKUP_API_KEY") == "other"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hidden\nhidden\n", "expected one line"),
        (b"hidden" * 1000, "expected one line of at most 4096 bytes"),
        (b"hidden \xff", "expected a file of text"),
    ],
)
def test_a_file_that_holds_no_secret_is_named(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    """With its setting, and without what is in it."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SettingError) as caught:
        Settings.from_environ({"LOOKUP_API_KEY_FILE": str(path)})
    assert str(caught.value).startswith(f"LOOKUP_API_KEY_FILE={str(path)!r}: ")
    assert problem in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("path", ["missing", ".", "\0", "/dev/zero"])
def test_a_file_that_cannot_be_read_is_named(path: str) -> None:
    """Whatever is there in its place."""
    with pytest.raises(SettingError, match="REDIS_URL_FILE="):
        Settings.from_environ({"REDIS_URL_FILE": path})


def test_a_secret_is_given_in_one_way_only(tmp_path: Path) -> None:
    """Nobody has to know which of them would win."""
    (tmp_path / "key").write_text("other")
    environ = {"LOOKUP_API_KEY": "hidden", "LOOKUP_API_KEY_FILE": f"{tmp_path}/key"}
    with pytest.raises(
        SettingError, match="LOOKUP_API_KEY_FILE are both set"
    ) as caught:
        Settings.from_environ(environ)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:1/2",
        "redis://u@h:1/2",
        "rediss://h?username=a@b",
        "redis://@h",
        "unix:///run/redis.sock?db=2",
        "unix://u@/run/redis.sock",
    ],
)
@pytest.mark.parametrize("password", ["p", "a:b@c/d?e#f%41 ä", "'\"$`\\"])
def test_a_password_may_be_given_apart(url: str, password: str) -> None:
    """As it is; redis-py finds just it, and all else as it was."""
    environ = {"REDIS_URL": url, "REDIS_PASSWORD": password}
    read = Settings.from_environ(environ).redis_url
    assert read is not None
    assert parse_url(redis_url("REDIS_URL", read)) == {
        **parse_url(url),
        "password": password,
    }
    assert f":{quote(password, safe='')}@" not in without_password(read)


@pytest.mark.parametrize(
    "url", ["", "redis://:q@h", "redis://u:@h", "redis://h?password=q"]
)
def test_a_password_without_its_place_is_refused(url: str) -> None:
    """Where there is no server that is meant, or another password."""
    with pytest.raises(SettingError, match="REDIS_PASSWORD.*expected"):
        Settings.from_environ({"REDIS_URL": url, "REDIS_PASSWORD": "p"})


@pytest.mark.parametrize("module", ["env", "embedded_redis", "supervisor", "contract"])
def test_batch_can_import_it_with_the_standard_library(module: str) -> None:
    """No package is needed for what the batch shares with the lookup."""
    program = f"import sys; sys.path.insert(0, '.'); import lookup.shared.{module}"
    subprocess.run([sys.executable, "-IS", "-c", program], check=True)


def test_those_of_the_lookup_alone() -> None:
    """How much is kept, who may ask from where, and what is logged."""
    settings = Settings.from_environ(
        {
            "LOOKUP_CACHE_MB": "0",
            "LOOKUP_CORS_ORIGINS": "https://a.example, http://localhost:3000",
            "LOOKUP_LOG": "requests",
        }
    )
    assert settings.cache_mb == 0
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert settings.log_requests
    assert Settings.from_environ({"LOOKUP_CORS_ORIGINS": "*"}).cors_origins == ("*",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LOOKUP_CACHE_MB", "-1"),
        ("LOOKUP_CACHE_MB", "1.5"),
        ("LOOKUP_CACHE_MB", "64MB"),
        ("LOOKUP_CORS_ORIGINS", "a.example"),
        ("LOOKUP_CORS_ORIGINS", "https://a.example/"),
        ("LOOKUP_CORS_ORIGINS", "https://a.example,"),
        ("LOOKUP_LOG", "all"),
    ],
)
def test_bad_ones_are_named(name: str, text: str) -> None:
    """With the value and what was expected."""
    with pytest.raises(SettingError) as caught:
        Settings.from_environ({name: text})
    assert f"{name}={text!r}" in str(caught.value)
    assert "expected" in str(caught.value)
