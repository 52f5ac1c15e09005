"""Parsers of environment variables, and how bad values are refused."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio.connection import parse_url

from lookup.shared.env import (
    SettingError,
    positive_integer,
    redis_address,
    redis_prefix,
    redis_url,
    secret,
    without_password,
)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", " 5", "5 ", "٣", "1" * 19])
def test_bad_integers_are_named(text: str) -> None:
    with pytest.raises(SettingError) as caught:
        positive_integer("TOP_N", text)
    assert str(caught.value) == f"TOP_N={text!r}: expected an integer of at least 1"


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/3",
        "redis://:p%40ss@redis:6379",
        "rediss://user:word@host:6380/0?ssl_cert_reqs=none",
        "redis://[::1]:6379/0",
        "unix:///run/redis.sock?db=2&protocol=2",
    ],
)
def test_good_urls_are_those_that_redis_py_takes(url: str) -> None:
    assert redis_url("REDIS_URL", url) == url
    parse_url(url)


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("valkey://:p%40ss@h:6379/3", "redis://:p%40ss@h:6379/3"),
        ("valkeys://h?ssl_cert_reqs=none", "rediss://h?ssl_cert_reqs=none"),
        ("REDIS://Host", "redis://Host"),
    ],
)
def test_other_schemes_of_the_same_protocol_are_taken(url: str, taken: str) -> None:
    assert redis_address({"REDIS_URL": url}) == taken
    parse_url(taken)
    if "@" not in url:
        read = redis_address({"REDIS_URL": url, "REDIS_PASSWORD": "p"})
        assert read == taken.replace("//", "//:p@")


SENTINEL = "Redis Sentinel is not supported: name the primary itself"
SEVERAL = "it names several hosts: name one server, or any node of a cluster"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+sentinel://h1:26379,h2:26379/mymaster/0", SENTINEL),
        ("redis-sentinel://:secret@h1:26379/mymaster", SENTINEL),
        ("rediss+sentinel://h?password=secret", SENTINEL),
        ("redis://a:1,b:2", SEVERAL),
        ("redis://a,b/0", SEVERAL),
        ("valkey://u:secret@a:1,b:2/0", SEVERAL),
        ("rediss://:sec,ret@[::1]:1,[::2]:2/0", SEVERAL),
    ],
)
def test_what_is_not_supported_is_said_in_one_line(url: str, problem: str) -> None:
    with pytest.raises(SettingError, match="REDIS_URL") as caught:
        redis_address({"REDIS_URL": url})
    message = str(caught.value)
    assert f": {problem}; expected redis://" in message
    assert "\n" not in message
    assert "sec" not in message
    assert "@" in url or "password=" in url or url in message


@pytest.mark.parametrize("prefix", ["shop", "a.b-c_D:9", "x" * 64])
def test_prefixes(prefix: str) -> None:
    assert redis_prefix({"REDIS_PREFIX": prefix}) == prefix
    assert redis_prefix({}) == redis_prefix({"REDIS_PREFIX": ""}) == "recs"


@pytest.mark.parametrize(
    "prefix",
    [
        *("a:", ":a", "a::b", "{a}", "a*", "a?", "[a]", "a b", " a", "a\n", "é", "a/b"),
        "x" * 65,
    ],
)
def test_bad_prefixes_are_named(prefix: str) -> None:
    with pytest.raises(SettingError, match="REDIS_PREFIX=.*expected up to 64 letters"):
        redis_prefix({"REDIS_PREFIX": prefix})


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
        ("redis://host/0#1", "it ends with '#1'"),
        ("redis://host/0?sokket=5", "the option is 'sokket'"),
        ("redis://host?db=x", "the option db is 'x'"),
        ("redis://host?protocol=3", "the option protocol is '3', and only 2 is"),
        ("unix://", "no path"),
    ],
)
def test_bad_urls_are_named(url: str, problem: str) -> None:
    with pytest.raises(SettingError, match="REDIS_URL=") as caught:
        redis_url("REDIS_URL", url)
    assert problem in str(caught.value)
    assert url in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@h:x",
        "redis://:sec/ret@h",
        "redis://:sec?ret@h",
        "redis://:sec#ret@h",
        "redis://u:12/sec@h",
        "redis://u:12?db=sec@h",
        "redis://:[sec]@h",
        "u:sec@h:6379",
        "sec:ret@h",
        "redis://h/x?password=sec",
    ],
)
def test_a_bad_url_with_a_password_is_refused_unseen(url: str) -> None:
    """Where an unencoded password ends is unknown, so that nothing is printed."""
    with pytest.raises(SettingError) as caught:
        redis_url("REDIS_URL", url)
    message = str(caught.value)
    assert message.startswith("REDIS_URL (hidden, since it may hold a password)")
    assert "%2F" in message
    assert "REDIS_PASSWORD" in message
    assert not any(piece in message for piece in ("sec/", "sec?", "sec#", "sec@", "12"))
    assert url not in message


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("redis://u:p@h:1/0", "redis://…@h:1/0"),
        ("redis://:a@b@h", "redis://…@h"),
        ("redis://h?password=p&db=1", "redis://h?password=…&db=1"),
        ("postgresql://u:a/b?c#d@h/db", "postgresql://…@h/db"),
        ("https://token@h/?password=p@q", "https://…@h/?password=…"),
        ("user:p@h:6379", "user:…@h:6379"),
        ("postgres:/u:p@h/db", "postgres:/…@h/db"),
        # paths have no password
        ("sqlite:////home/me@work/x.db", "sqlite:////home/me@work/x.db"),
        ("/home/a:b@c/raw", "/home/a:b@c/raw"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
    ],
)
def test_passwords_are_hidden(url: str, hidden: str) -> None:
    assert without_password(url) == hidden


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_may_be_in_a_file(tmp_path: Path, end: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(f"a pässword{end}".encode())
    assert secret({"KEY": "", "KEY_FILE": str(path)}, "KEY") == "a pässword"
    assert secret({"KEY": "other", "KEY_FILE": ""}, "KEY") == "other"
    with pytest.raises(SettingError, match="KEY and KEY_FILE are both set") as caught:
        secret({"KEY": "other", "KEY_FILE": str(path)}, "KEY")
    assert "other" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hidden\nhidden\n", "expected one line"),
        (b"hidden" * 1000, "expected one line of at most 4096 bytes"),
        (b"hidden \xff", "expected a text file"),
    ],
)
def test_a_file_that_holds_no_secret_is_named(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SettingError) as caught:
        secret({"KEY_FILE": str(path)}, "KEY")
    assert str(caught.value).startswith(f"KEY_FILE={str(path)!r}: ")
    assert problem in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("path", ["missing", ".", "\0", "/dev/zero"])
def test_a_file_that_cannot_be_read_is_named(path: str) -> None:
    with pytest.raises(SettingError, match="KEY_FILE="):
        secret({"KEY_FILE": path}, "KEY")


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
def test_redis_password_is_put_into_the_url(url: str, password: str) -> None:
    read = redis_address({"REDIS_URL": url, "REDIS_PASSWORD": password})
    assert read is not None
    expected = {**parse_url(url), "password": password}
    assert parse_url(redis_url("REDIS_URL", read)) == expected
    assert f":{quote(password, safe='')}@" not in without_password(read)


@pytest.mark.parametrize(
    "url", ["", "redis://:q@h", "redis://u:@h", "redis://h?password=q"]
)
def test_redis_password_needs_a_url_without_one(url: str) -> None:
    with pytest.raises(SettingError, match="REDIS_PASSWORD.*expected"):
        redis_address({"REDIS_URL": url, "REDIS_PASSWORD": "p"})


@pytest.mark.parametrize(
    "module", ["env", "embedded_redis", "contract", "keys", "redis_options"]
)
def test_the_standard_library_is_enough(module: str) -> None:
    program = f"import sys; sys.path.insert(0, '.'); import lookup.shared.{module}"
    subprocess.run([sys.executable, "-IS", "-c", program], check=True)
