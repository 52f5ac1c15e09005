"""The names of keys, and which of them are ours."""

import inspect

import pytest

from lookup.shared.keys import USER_KINDS, GenerationKeys, Keys
from tests.conftest import KEYS

NAME = "20261124T184909Z-f16ffa"


def test_keys_are_those_of_the_contract() -> None:
    assert KEYS.current == "recs:current"
    assert KEYS.generations == "recs:generations"
    assert KEYS.lock == "recs:lock"
    assert KEYS.of("g").meta == "recs:g:meta"
    assert KEYS.of("g").user(42) == "recs:g:user:42"
    assert KEYS.of("g").popular == "recs:g:popular"
    assert KEYS.of("g").catalogue("new", "Sci-Fi") == "recs:g:new:Sci-Fi"
    assert KEYS.of("g").items == "recs:g:items"
    assert KEYS.of("g").similar(50) == "recs:g:similar:50"
    assert KEYS.of("g").next(50) == "recs:g:next:50"
    assert KEYS.of("g").because(42) == "recs:g:because:42"
    assert KEYS.of("g").history(42) == "recs:g:history:42"
    assert KEYS.of("g").about == "recs:g:about"


@pytest.mark.parametrize("prefix", ["recs", "shop.recs", "recs:b", NAME])
def test_each_key_of_a_generation_is_known_by_its_form(prefix: str) -> None:
    keys = Keys(prefix)
    own = keys.of(NAME)
    found = [own.meta, own.popular, own.items, own.about, own.user(42)]
    found += [own.because(42), own.history(42), own.similar(42), own.next(42)]
    found += [own.catalogue("trending"), own.catalogue("popular", "a:b/c\n")]
    assert {keys.generation_of(key) for key in found} == {NAME}
    for other in {"recs", "shop.recs", "recs:b", "shop-recs", NAME} - {prefix}:
        assert {Keys(other).generation_of(key) for key in found} == {None}


def test_the_kinds_of_users_keys_are_all_that_take_a_user() -> None:
    members = inspect.getmembers(GenerationKeys, inspect.isfunction)
    of_users = [
        name for name, one in members if "user_id" in inspect.signature(one).parameters
    ]
    assert sorted(USER_KINDS) == of_users


@pytest.mark.parametrize(
    "key",
    [
        *(KEYS.current, KEYS.generations, KEYS.lock),
        *(KEYS.in_cluster().generations, KEYS.in_cluster().lock),
        *("recs:cache:home", "recs:home", "recs", "recs:", f"recs:{NAME}"),
        *("recs:g1:meta", f"recs:{NAME}:", f"recs:{NAME}:user", f"recs:{NAME}:cache"),
        *(
            f"recs:{NAME}:user:",
            f"recs:{NAME}:meta:1",
            f"recs:{NAME}:new:",
            f"recs:{NAME}0:meta",
        ),
        *(f"recs:{NAME.lower()}:meta", f"x:recs:{NAME}:meta", f"recs:x:{NAME}:meta"),
    ],
)
def test_no_other_key_is(key: str) -> None:
    assert KEYS.generation_of(key) is None
