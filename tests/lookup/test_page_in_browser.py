"""The page, in a real Chromium, on a real lookup and a real Redis."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from lookup.shared import contract
from lookup.shared.contract import About, History
from tests.conftest import ITEMS, KEYS, publish
from tests.lookup.browser import chromium, prefer, resize
from tests.lookup.programs import Start, started
from tests.lookup.proxy import proxy

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(1)><script>alert(1)</script> (1999)"
METRICS = {
    "model": {"ndcg_at_10": 0.2861, "ndcg_at_10_low": 0.27, "ndcg_at_10_high": 0.3},
    "popularity": {"ndcg_at_10": 0.1111},
}
ITEMS_OF = """
const items = document.getElementById(arguments[0])?.children ?? [];
return [...items].map((item) => Number(item.dataset.item));
"""
ABOUT = About(3, 6, ["Action", "Drama", "Sci-Fi"], [7, 42], "by time", METRICS)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


class Page:
    """The page as a person sees and uses it."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        self.url = url
        browser.get_log("browser")  # type: ignore[no-untyped-call] # forget earlier ones

    def open(self, path: str = "/") -> None:
        self.browser.get(self.url + path)

    def __getitem__(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def ids(self, name: str) -> list[int]:
        # in one step: the page may be replacing them
        found: list[int] = self.browser.execute_script(ITEMS_OF, name)
        return found

    def until(self, condition: Callable[[], Any]) -> None:
        WebDriverWait(self.browser, 10).until(lambda _: condition())

    def ask(self, user_id: object) -> None:
        self["user"].clear()
        self["user"].send_keys(str(user_id), Keys.ENTER)

    def open_user(self) -> None:
        """Open the lists of user 42."""
        self.open("/?user=42")
        self.until(lambda: len(self.ids("list")) == 5)

    def logged(self) -> list[str]:
        """Return what the browser logged, such as violations of the policy."""
        entries = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries]


@pytest.fixture
def page(
    browser: Chrome, start: Start, redis_url: str, redis_client: "redis.Redis"
) -> Page:
    """The page of a small generation, on a wide screen."""
    write(redis_client)
    resize(browser, 1280, 900)
    prefer(browser, color_scheme="light")
    return Page(browser, served(start, redis_url))


def served(start: Start, redis_url: str, **settings: str) -> str:
    """Start a lookup and return its address."""
    port, _ = started(start, REDIS_URL=redis_url, **settings)
    return f"http://127.0.0.1:{port}"


def write(client: "redis.Redis") -> None:
    """Publish what the page shows of user 42."""
    hostile = {"title": HOSTILE, "genres": ["Drama"], "year": 1999}
    publish(client, items={**ITEMS, 300: hostile}, current=False)
    history = History(2, [(300, 5.0), (258, 4.5)], [(258, 4.5), (300, 5.0)])
    reasons = contract.encode_because([[300], [258, 300], [], [300], []])
    client.set(KEYS.of("g1").history(42), contract.encode_history(history))
    client.rpush(KEYS.of("g1").because(42), *reasons)
    client.rpush(KEYS.of("g1").similar(50), *contract.encode([(181, 0.9)]))
    client.rpush(KEYS.of("g1").similar(181), *contract.encode([(50, 0.9)]))
    client.rpush(KEYS.of("g1").similar(300), *contract.encode([(73, 0.9), (258, 0.1)]))
    trending = contract.encode([(258, 9.5), (50, 1.5)])
    client.rpush(KEYS.of("g1").catalogue("trending"), *trending)
    client.set(KEYS.of("g1").about, contract.encode_about(ABOUT))
    client.set(KEYS.current, "g1")


def test_it_names_the_generation_and_its_metrics(page: Page) -> None:
    page.open()
    page.until(lambda: page["measured"].is_displayed())
    assert "Model version 3, scored" in page["origin"].text
    assert "g1" in page["origin"].text
    first, second = (row.text for row in page.all("#metrics tr"))
    assert first.startswith("This model 0.286 0.270 – 0.300")
    assert second.startswith("Popularity 0.111 –")
    assert "by time" in page["protocol"].text
    assert page.logged() == []


def test_lists_appear_side_by_side_with_explanations(page: Page) -> None:
    """A title becomes text and nothing else."""
    page.open()
    page.ask(42)
    status = page["status"]
    page.until(lambda: "user 42" in str(status.get_attribute("textContent")))
    assert page.ids("list") == [50, 73, 181, 258, 267]
    assert page.ids("highest") == [300, 258]
    assert page.ids("last") == [258, 300]
    first = page.all("#list li")[0].text
    assert "Star Wars" in first
    assert "1977 · Action · Sci-Fi" in first
    score, *_, last = page.all("#list .score")
    assert score.get_attribute("title") == "score 3.14"
    assert score.size["width"] == bar_of(score) > bar_of(last)
    assert "Because they rated <img src=x onerror=alert(1)>" in first
    assert "because" not in page.all("#list li")[2].text.lower()
    assert page.all("#main img") == page.all("#main script") == []
    left, right = page["rated"].rect, page["recommended"].rect
    assert left["x"] + left["width"] <= right["x"]
    assert page.browser.current_url.endswith("/?user=42")
    assert page.logged() == []


def bar_of(score: WebElement) -> int:
    """Return the length of a score's bar."""
    return int(score.find_element(By.CSS_SELECTOR, ".bar").size["width"])


def test_a_user_can_be_picked_and_left_again(page: Page) -> None:
    page.open()
    page.until(lambda: page.all(".pick"))
    page.all(".pick")[0].click()
    page.until(lambda: page.ids("list") == [258, 50])
    page.browser.back()
    page.until(lambda: page["welcome"].is_displayed())
    page.open_user()


def test_films_can_be_picked(page: Page) -> None:
    """By keys and by clicks; the address keeps the picks, and Back undoes the last."""
    page.open()
    page.until(lambda: page.ids("list") == [181, 50, 258, 73])
    assert page["picker-title"].text == "Not a user? Pick films you like"
    find = page["find"]
    find.send_keys("star")
    page.until(lambda: find.get_attribute("aria-expanded") == "true")
    find.send_keys(Keys.ARROW_DOWN)
    reached = page[str(find.get_attribute("aria-activedescendant"))]
    assert (reached.text, reached.get_attribute("role")) == ("Star Wars 1977", "option")
    find.send_keys(Keys.ENTER)
    page.until(lambda: page.ids("list") == [181])
    assert page.ids("picks") == [50]
    assert page.browser.current_url.endswith("/?items=50")
    assert "Because you picked Star Wars" in page["list"].text
    find.send_keys("alert")
    page.until(lambda: page.all("#found li"))
    assert page["found"].text.startswith("<img src=x onerror=alert(1)>")
    page.all("#found li")[0].click()
    page.until(lambda: sorted(page.ids("list")) == [73, 181, 258])
    assert page.browser.current_url.endswith("/?items=50,300")
    page.all("#list [data-item='181'] .plain")[0].click()
    page.until(lambda: page.ids("picks") == [50, 300, 181])
    page.browser.back()
    page.until(lambda: page.ids("picks") == [50, 300])
    page.all("#picks button")[0].click()
    page.until(lambda: page.ids("list") == [73, 258])
    assert page.browser.switch_to.active_element == page.all("#picks button")[0]
    page.all("#picks button")[0].click()
    page.until(lambda: page["welcome"].is_displayed())
    assert page.all("#main img") == page.all("#main script") == []
    assert page.logged() == []


def test_a_link_holds_picks(page: Page) -> None:
    """Unknown ones are left out, and nothing at all gives the popular list."""
    page.open("/?items=300,999,50")
    page.until(lambda: page.ids("picks") == [300, 50])
    page.until(lambda: sorted(page.ids("list")) == [73, 181, 258])
    page.open("/?items=999")
    page.until(lambda: page.ids("list") == [181, 50, 258, 73])


def test_picks_may_have_ids_of_text(page: Page, redis_client: "redis.Redis") -> None:
    """One that holds a comma is one id."""
    own, names = KEYS.of("g1"), ["50,181", "b&c"]
    redis_client.hset(own.meta, "item_ids", "text")
    for name in names:
        redis_client.hset(own.items, name, '{"title": "T", "genres": [], "year": 1}')
    redis_client.rpush(own.similar("50,181"), *contract.encode([("73", 0.5)]))
    page.open("/?items=50%2C181&items=b%26c")
    page.until(lambda: page.ids("list") == [73])
    chips = [chip.get_attribute("data-item") for chip in page.all("#picks li")]
    assert chips == names
    page.all("#list .plain")[0].click()
    page.until(lambda: len(page.all("#picks li")) == 3)
    assert page.browser.current_url.endswith("/?items=50%2C181&items=b%26c&items=73")


def test_trending_and_new_are_beside_the_popular_list(page: Page) -> None:
    page.open()
    page.until(lambda: page.all("#catalogue [aria-current]"))
    _, trending, new = page.all("#catalogue a")
    trending.click()
    page.until(lambda: page.ids("list") == [258, 50])
    assert page.browser.current_url.endswith("/?list=trending")
    assert page["recommended-title"].text == "Trending"
    new.click()
    page.until(lambda: page["recommended-title"].text == "New")
    assert page.ids("list") == []  # of a generation from before there was a list


def test_users_can_be_leafed_through(page: Page, redis_client: "redis.Redis") -> None:
    """Up to those with the next id, over gaps, and to any of the examples."""
    history = contract.encode_history(History(1, [(50, 5.0)], [(50, 5.0)]))
    for user_id in (7, 9):
        redis_client.set(KEYS.of("g1").history(user_id), history)
    page.open("/?user=7")
    page.until(lambda: page["rated-title"].text == "User 7 rated")
    page["next"].click()
    page.until(lambda: page["rated-title"].text == "User 9 rated")
    page["next"].click()
    page.until(lambda: "no user beside" in page["rated-note"].text)
    page["previous"].click()
    page.until(lambda: page["rated-title"].text == "User 7 rated")
    page["random"].click()
    page.until(lambda: page["rated-title"].text == "User 42 rated")


@pytest.mark.parametrize(
    ("strips", "root_path", "path"),
    [
        *((strips, "/recs", path) for strips in (True, False) for path in ("", "/")),
        (True, "", "/"),
    ],
)
def test_it_works_below_a_path(
    page: Page, start: Start, redis_url: str, strips: bool, root_path: str, path: str
) -> None:
    url = served(start, redis_url, LOOKUP_ROOT_PATH=root_path)
    with proxy(url, "/recs", strips=strips) as page.url:
        page.open(f"/recs{path}?user=42")
        page.until(lambda: len(page.ids("list")) == 5)
        page.all("#list .movie")[0].click()
        page.until(lambda: page.ids("similar-list") == [181])
        assert page.logged() == []
        page["close"].click()
        page.ask(7)
        page.until(lambda: page.ids("list") == [258, 50])
        assert page.browser.current_url == f"{page.url}/recs{path}?user=7"
        link = page.all("footer a")[0].get_attribute("href")
        assert link == f"{page.url}/recs/openapi.json"


def test_genres_filter(page: Page) -> None:
    page.open_user()
    Select(page["genre"]).select_by_visible_text("Drama")
    page.until(lambda: page.ids("list") == [73, 258])
    Select(page["genre"]).select_by_visible_text("All")
    page.until(lambda: len(page.ids("list")) == 5)


def test_a_click_shows_similar_movies(page: Page) -> None:
    """These lead on to others, and Escape leads back."""
    page.open_user()
    opener = page.all("#list .movie")[0]
    opener.click()
    page.until(lambda: page.ids("similar-list") == [181])
    assert page["similar-title"].text == "Like Star Wars"
    page.all("#similar-list .movie")[0].click()
    page.until(lambda: page.ids("similar-list") == [50])
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.until(lambda: not page["similar"].is_displayed())
    assert page.browser.switch_to.active_element == opener
    assert page.logged() == []


def test_a_keyboard_is_enough(page: Page) -> None:
    page.open()
    page.until(lambda: page.all(".pick"))
    tab_to(page, "user").send_keys("42", Keys.ENTER)
    page.until(lambda: len(page.ids("list")) == 5)
    tab_to(page, "genre").send_keys("Dr")
    page.until(lambda: page.ids("list") == [73, 258])
    page.browser.switch_to.active_element.send_keys(Keys.TAB)
    focused = page.browser.switch_to.active_element
    assert focused.get_attribute("class") == "movie"
    assert focused.value_of_css_property("outline-style") == "solid"
    focused.send_keys(Keys.ENTER)
    page.until(lambda: page["similar"].is_displayed())
    page.until(lambda: "Too few people" in page["similar-note"].text)
    assert page.browser.switch_to.active_element == page["close"]


def tab_to(page: Page, name: str) -> WebElement:
    """Press Tab until an element has the focus."""
    for _ in range(30):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.browser.switch_to.active_element
        if focused.get_attribute("id") == name:
            return focused
    raise AssertionError(f"Tab does not lead to {name}")


def test_a_phone_shows_it_without_scrolling_sideways(page: Page) -> None:
    resize(page.browser, 360, 740)
    page.open_user()
    width = page.browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= 360
    assert page["recommended-title"].rect["y"] < 740
    assert not page["highest"].is_displayed()
    page["rated-title"].click()
    assert page["highest"].is_displayed()
    assert page["highest"].rect["y"] < 740
    assert page.all("#metrics .bar")[0].is_displayed()


def test_dark_is_dark_and_light_is_light(page: Page) -> None:
    page.open()
    assert brightness(page) > 200
    prefer(page.browser, color_scheme="dark")
    assert brightness(page) < 60


def brightness(page: Page) -> float:
    """Return the mean of the background's channels, of 255."""
    body = page.browser.find_element(By.TAG_NAME, "body")
    colour = body.value_of_css_property("background-color")
    channels = colour.partition("(")[2].rstrip(")").split(",")[:3]
    return sum(map(float, channels)) / 3


def test_data_without_ratings_and_films_have_no_stars_and_items(
    page: Page, redis_client: "redis.Redis"
) -> None:
    shop = replace(ABOUT, has_ratings=False, has_films=False)
    redis_client.set(KEYS.of("g1").about, contract.encode_about(shop))
    page.open_user()
    assert page["rated-note"].text == "2 items."
    assert page.ids("last") == [258, 300]
    shown = [one for one in page.all(".stars, #highest") if one.is_displayed()]
    assert shown == []
    page.open()
    page.until(lambda: page["picker-title"].text == "Not a user? Pick items you like")
    assert "films" not in page["main"].text


def test_an_unknown_user_gets_the_popular_list_and_a_note(page: Page) -> None:
    page.open("/?user=99")
    page.until(lambda: page.ids("list") == [181, 50, 258, 73])
    assert page["recommended-title"].text == "What most people rated"
    assert "No user has this id" in page["rated-note"].text
    assert not page["rated-lists"].is_displayed()


def test_a_bad_id_is_refused_with_the_reason(page: Page) -> None:
    page.open("/?user=x")
    page.until(lambda: page["trouble"].is_displayed())
    assert "user_id" in page["trouble-text"].text
    assert not page["retry"].is_displayed()


def test_errors_hide_the_lists_and_can_be_retried(
    page: Page, redis_client: "redis.Redis"
) -> None:
    page.open_user()
    redis_client.delete(KEYS.current)
    page.ask(7)
    page.until(lambda: page["trouble"].is_displayed())
    assert not page["main"].is_displayed()
    page.open("/?user=42")
    page.until(lambda: page["trouble"].is_displayed())
    assert "Nothing has been published yet" in page["trouble-text"].text
    redis_client.set(KEYS.current, "g1")
    page["retry"].click()
    page.until(lambda: len(page.ids("list")) == 5)
    assert not page["trouble"].is_displayed()


def test_a_key_is_asked_for_and_forgotten_with_the_page(
    page: Page, start: Start, redis_url: str
) -> None:
    page.url = served(start, redis_url, LOOKUP_API_KEY="clé")
    page.open("/?user=42")
    page.until(lambda: page["key-form"].is_displayed())
    page["key"].send_keys("wrong", Keys.ENTER)
    page.until(lambda: not page["key"].get_attribute("value"))
    page.until(lambda: page["key-form"].is_displayed())
    page["key"].send_keys("clé", Keys.ENTER)
    page.until(lambda: len(page.ids("list")) == 5)
    stored = "return [localStorage.length, sessionStorage.length, document.cookie]"
    assert page.browser.execute_script(stored) == [0, 0, ""]
    page.open("/?user=42")
    page.until(lambda: page["key-form"].is_displayed())
