"""The lookup's settings."""

import pytest

from lookup.settings import Settings
from lookup.shared.env import SettingError


def test_nothing_has_to_be_set() -> None:
    """Compose passes on an unset variable as an empty one."""
    empty = {"REDIS_URL": "", "K_DEFAULT": "", "LOOKUP_API_KEY": "", "LOOKUP_LOG": ""}
    assert Settings.from_environ({}) == Settings.from_environ(empty) == Settings()


def test_all_are_read() -> None:
    settings = Settings.from_environ(
        {
            "REDIS_URL": "redis://localhost:6379/0",
            "REDIS_PREFIX": "shop",
            "K_DEFAULT": "5",
            "LOOKUP_API_KEY": "secret",
            "LOOKUP_CACHE_MB": "0",
            "LOOKUP_CORS_ORIGINS": "https://a.example, http://localhost:3000",
            "LOOKUP_LOG": "requests",
            "LOOKUP_ROOT_PATH": "/shop/recs/",
            "PAGE_TITLE": "Books & more",
        }
    )
    origins = ("https://a.example", "http://localhost:3000")
    url = "redis://localhost:6379/0"
    assert settings == Settings(
        url,
        "shop",
        5,
        "secret",
        0,
        origins,
        log_requests=True,
        root_path="/shop/recs",
        page_title="Books & more",
    )
    assert "secret" not in repr(settings)
    assert Settings.from_environ({"LOOKUP_CORS_ORIGINS": "*"}).cors_origins == ("*",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("K_DEFAULT", "0"),
        ("LOOKUP_CACHE_MB", "-1"),
        ("LOOKUP_CACHE_MB", "1.5"),
        ("LOOKUP_CACHE_MB", "64MB"),
        ("LOOKUP_CORS_ORIGINS", "a.example"),
        ("LOOKUP_CORS_ORIGINS", "https://a.example/"),
        ("LOOKUP_CORS_ORIGINS", "https://a.example,"),
        ("LOOKUP_LOG", "all"),
        ("PAGE_TITLE", " "),
        ("PAGE_TITLE", "two\nlines"),
        ("PAGE_TITLE", "x" * 101),
        *[
            ("LOOKUP_ROOT_PATH", path)
            for path in (
                *("recs", "//recs", "/recs//", "/a//b", "/..", "/a/./b", "/a%2Fb"),
                *("/a b", "/a\n", "/é", "/a?b", "/a#b", '/"><script>', "http://a/b"),
                *("/recommend", "/static/recs", "/health/"),
            )
        ],
    ],
)
def test_bad_ones_are_named(name: str, text: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environ({name: text})
    assert f"{name}={text!r}" in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("path", ["", "/"])
def test_a_root_path_may_be_the_root(path: str) -> None:
    assert Settings.from_environ({"LOOKUP_ROOT_PATH": path}).root_path == ""


@pytest.mark.parametrize("key", [" key", "key\n", "a\x00b"])
def test_bad_keys_are_refused_unseen(key: str) -> None:
    """No HTTP header can carry them."""
    with pytest.raises(SettingError, match="LOOKUP_API_KEY") as caught:
        Settings.from_environ({"LOOKUP_API_KEY": key})
    assert key not in str(caught.value)
