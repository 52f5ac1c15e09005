"""The page, as a browser would parse it."""

from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from batch import warehouse
from batch.evaluation import comparison, examples
from batch.evaluation.evaluate import evaluate
from batch.evaluation.report import N_FEATURES, Report, page
from batch.features import tables
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.worlds import Connection, World

HOSTILE = "</title></li><script>alert('x')</script> & <b>\"Co\"</b> (1995)"
VOID = {"meta", "rect", "line"}
"""Elements without an end: of HTML, and those of SVG that end in `/>` here."""


class Page(HTMLParser):
    """A page whose elements must be closed in their order, and its text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All that is read."""
        return "\n".join(text for text in self.texts if text.strip())


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Give an empty warehouse."""
    with warehouse.connect(tmp_path) as connection:
        yield connection


def report(connection: Connection, world: World, **changed: object) -> Report:
    """Make a report of lists of the first ten items for all of a world's users."""
    worlds.stage(connection, world)
    connection.execute("update stg_items set title = $1 where item_id = 3", [HOSTILE])
    tables.build(connection, n_cuts=1)
    items = np.arange(1, 11, dtype=np.int32)
    scores = np.zeros(10, np.float32)
    evaluation = evaluate(
        connection,
        [Ranking(user, items, scores) for user in warehouse.user_ids(connection)],
    )
    made = Report(
        release="ml-tiny",
        model_version="7",
        measured="evaluated",
        made_at="2026-11-24 01:30 UTC",
        evaluation=evaluation,
        importances={f"feature_{i}": 1 / i for i in range(1, 40)},
        examples=examples.read(connection, evaluation.lists, evaluation.held_out),
    )
    return replace(made, **changed)  # type: ignore[arg-type]


def test_the_page_tells_all_it_has_to(connection: Connection) -> None:
    """Each section, with the numbers and what they are of."""
    told = report(connection, worlds.ragged())
    text = Page(page(told)).text
    for heading in (
        "MovieLensXGB version 7 on ml-tiny",
        "Beside the baselines",
        "By length of history",
        "Coverage and popularity bias",
        "What the model looks at",
        "10 users",
    ):
        assert heading in text
    evaluation = told.evaluation
    assert "2026-11-24 01:30 UTC" in text
    assert evaluation.protocol in text
    for metrics in evaluation.rankers.values():
        assert f"{metrics.ndcg_at_10:.4f}" in text
        assert f"{metrics.recall_at_10:.4f}" in text
    low, high = evaluation.intervals["item_knn"]["ndcg_at_10"]
    assert f"{low:.4f} to {high:.4f}" in text
    for length, bucket in evaluation.by_history_length.items():
        assert f"{length}, {bucket['n_users']} users" in text
    for bias in evaluation.popularity_bias.values():
        assert f"{bias.gini:.4f}" in text
    assert f"feature_{N_FEATURES}\n" in text
    assert f"feature_{N_FEATURES + 1}" not in text
    assert text.count("Is recommended") == 10
    assert "prod" not in text


def test_titles_from_outside_are_text(connection: Connection) -> None:
    """A title cannot close an element, start a script, or be read as an entity."""
    parsed = Page(page(report(connection, worlds.ragged(), release=HOSTILE)))
    assert HOSTILE in parsed.text
    assert "script" not in parsed.tags
    assert "b" not in parsed.tags


def test_the_page_is_complete(connection: Connection) -> None:
    """Nothing is fetched, nothing runs, and it is readable at night and on a phone."""
    told = page(report(connection, worlds.ragged()))
    parsed = Page(told)
    assert not parsed.tags & {"script", "link", "img", "iframe", "object"}
    assert not parsed.attributes & {"src", "href", "onclick", "onload", "style"}
    assert "url(" not in told
    assert "@import" not in told
    assert "prefers-color-scheme: dark" in told
    assert 'name="viewport"' in told
    assert told.startswith("<!DOCTYPE html>")


def test_the_same_report_is_the_same_page(connection: Connection) -> None:
    """No clock, no chance."""
    told = report(connection, worlds.ragged())
    assert page(told) == page(told)


def test_hits_are_marked(connection: Connection) -> None:
    """User 1 went on to rate item 5, which is recommended, with 2.5."""
    world = World(
        [(1, item, [5.0, 4.0, 3.0, 4.5, 2.5][item - 1], item) for item in range(1, 6)],
        [(item, None, []) for item in range(1, 11)],
        [(1, None, None, None)],
    )
    parsed = Page(page(report(connection, world)))
    assert "\n1 user\n" in parsed.text
    assert "User 1: 4 ratings seen, 1 held out, 1 hit" in parsed.text
    assert "Item 5 ✓ 2.5" in parsed.text


def test_a_world_without_a_hold_out(connection: Connection) -> None:
    """One user with one rating: nothing to measure is no failure."""
    world = World(
        [(1, 1, 5.0, 1)],
        [(item, None, []) for item in range(1, 11)],
        [(1, None, None, None)],
    )
    text = Page(page(report(connection, world, importances={}))).text
    assert "User 1: 1 rating seen, 0 held out, 0 hits" in text
    assert "0.0000 to 0.0000" in text


def test_prod_stands_beside_the_candidate(connection: Connection) -> None:
    """With the paired difference and its interval."""
    told = report(connection, worlds.ragged())
    compared = comparison.compare(told.evaluation, told.evaluation, "6", "evaluated")
    text = Page(page(replace(told, comparison=compared))).text
    assert text.count("prod (version 6)") == 4
    assert "+0.0000 to +0.0000" in text


def test_a_model_that_may_have_seen_the_hold_out_is_no_secret(
    connection: Connection,
) -> None:
    told = report(connection, worlds.ragged(), measured="served")
    assert "it looks better here than it is" in Page(page(told)).text
