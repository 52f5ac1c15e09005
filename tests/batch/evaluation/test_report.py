"""The page, as a browser parses it."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from batch import warehouse
from batch.evaluation import comparison, examples
from batch.evaluation.evaluation import evaluate
from batch.evaluation.report import N_FEATURES, Report, render
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.batch.evaluation.conftest import HoldOut
from tests.worlds import World

HOSTILE = "</title></li><script>alert('x')</script> & <b>\"Co\"</b> (1995)"
VOID = {"meta", "rect", "line"}
"""Elements without an end tag: HTML's, and those of SVG that end in `/>` here."""


class Page(HTMLParser):
    """A page's text and tags; an element must be closed before its parent."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
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
        self.text += f"{data}\n" if data.strip() else ""


def report_of(hold_out: HoldOut, world: World) -> Report:
    """Recommend the items 1 to 10 to all users; item 3 has a hostile title."""
    connection = hold_out(world)
    connection.execute("update stg_items set title = $1 where item_id = 3", [HOSTILE])
    items, scores = np.arange(1, 11, dtype=np.int32), np.zeros(10, np.float32)
    users = warehouse.user_ids(connection)
    evaluation = evaluate(connection, [Ranking(u, items, scores) for u in users])
    return Report(
        release="ml-tiny",
        model_version="7",
        measured="evaluated",
        made_at="2026-11-24 01:30 UTC",
        evaluation=evaluation,
        importances={f"feature_{i}": 1 / i for i in range(1, 40)},
        examples=examples.read(connection, evaluation.lists, evaluation.held_out),
    )


@pytest.fixture
def report(hold_out: HoldOut) -> Report:
    return report_of(hold_out, worlds.ragged())


def one_user(*ratings: float) -> World:
    """Let one user rate the first of ten items in their order."""
    return World(
        [(1, i + 1, rating, i) for i, rating in enumerate(ratings)],
        [(item, None, []) for item in range(1, 11)],
        [(1, None, None, None)],
    )


def test_all_sections_and_numbers(report: Report) -> None:
    text = Page(render(report)).text
    evaluation = report.evaluation
    low, high = evaluation.intervals["item_knn"]["ndcg_at_10"]
    numbers = [
        number
        for ranker, metrics in evaluation.rankers.items()
        for number in (
            metrics.ndcg_at_10,
            metrics.ndcg_at_10_liked,
            metrics.recall_at_10,
            metrics.hit_rate_at_10,
            metrics.coverage_at_10,
            evaluation.popularity_bias[ranker].gini,
        )
    ]
    for expected in (
        "MovieLensXGB version 7 on ml-tiny\n",
        "Compared with the baselines\n",
        "By length of history\n",
        "Coverage and popularity bias\n",
        "Feature importance\n",
        "10 users\n",
        "2026-11-24 01:30 UTC\n",
        f"{evaluation.protocol}\n",
        f"{low:.4f} to {high:.4f}\n",
        f"feature_{N_FEATURES}\n",
        *(f"{number:.4f}\n" for number in numbers),
        *(
            f"{length}, {bucket['n_users']} user"
            for length, bucket in evaluation.by_history_length.items()
        ),
    ):
        assert expected in text
    assert f"feature_{N_FEATURES + 1}" not in text
    assert text.count("Recommended\n") == 10
    assert "prod" not in text


def test_titles_are_escaped(report: Report) -> None:
    parsed = Page(render(replace(report, release=HOSTILE)))
    assert f"on {HOSTILE}\n" in parsed.text
    assert f"\n{HOSTILE}\n" in parsed.text
    assert not parsed.tags & {"script", "b"}


def test_the_page_is_self_contained_and_reproducible(report: Report) -> None:
    page = render(report)
    parsed = Page(page)
    assert not parsed.tags & {"script", "link", "img", "iframe", "object"}
    assert not parsed.attributes & {"src", "href", "onclick", "onload", "style"}
    assert not re.search(r"url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert page.startswith("<!DOCTYPE html>")
    assert page == render(report)


def test_bars_are_shares_of_the_largest_value(report: Report) -> None:
    page = render(replace(report, importances={"a": 2.0, "b": 0.5, "c": 0.0}))
    bars = re.findall(r'<rect class="(\w*)" height="10" width="([\d.]+)"/>', page)
    assert bars[-3:] == [("model", "100.00"), ("model", "25.00"), ("model", "0.00")]
    assert [ranker for ranker, _ in bars[:3]] == ["model", "", ""]
    highs = [
        interval["ndcg_at_10"][1]
        for ranker, interval in report.evaluation.intervals.items()
        if ranker in report.evaluation.rankers
    ]
    lines = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)" y1="5"', page)
    found = [float(high) for _, high in lines[:3]]
    assert found == pytest.approx([100 * h / max(highs) for h in highs], abs=0.01)


def test_hits_are_marked(hold_out: HoldOut) -> None:
    """The hold-out of the one user is item 5, rated 2.5."""
    text = Page(render(report_of(hold_out, one_user(5.0, 4.0, 3.0, 4.5, 2.5)))).text
    assert "\n1 user\n" in text
    assert "User 1: 4 ratings seen, 1 held out, 1 hit\n" in text
    assert "Item 5 ✓ 2.5\n" in text


def test_a_world_without_a_hold_out(hold_out: HoldOut) -> None:
    report = replace(report_of(hold_out, one_user(5.0)), importances={})
    text = Page(render(report)).text
    assert "User 1: 1 rating seen, 0 held out, 0 hits\n" in text
    assert "0.0000 to 0.0000\n" in text


def test_comparison_with_prod(report: Report) -> None:
    compared = comparison.compare(report.evaluation, report.evaluation, "6", "served")
    text = Page(render(replace(report, comparison=compared))).text
    assert text.count("prod (version 6)\n") == 4
    assert "+0.0000 to +0.0000\n" in text


def test_a_served_model_may_have_seen_the_hold_out(report: Report) -> None:
    text = Page(render(replace(report, measured="served"))).text
    assert "it looks better here than it is" in text
