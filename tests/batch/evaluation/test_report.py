import re
from dataclasses import astuple, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from batch import warehouse
from batch.evaluation import comparison, data_profile, examples
from batch.evaluation.evaluation import evaluate
from batch.evaluation.report import N_FEATURES, Report, render
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.batch.evaluation.conftest import HoldOut, rated
from tests.lookup.browser import chromium, resize
from tests.worlds import World

HOSTILE = "</title></li><script>alert('x')</script> & <b>\"Co\"</b> (1995)"
VOID = {"meta", "rect", "line", "br"}
"""Elements without an end tag: HTML's, and those of SVG that end in `/>` here."""


class Page(HTMLParser):
    """A page's text and tags; an element must be closed before its parent."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen |= {tag, *(name for name, _ in attrs)}
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag

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
        model_name="MovieLensXGB",
        release="ml-tiny",
        model_version="7",
        measured="evaluated",
        made_at="2026-11-24 01:30 UTC",
        evaluation=evaluation,
        importances={f"feature_{i}": 1 / i for i in range(1, 40)},
        parameters={"max_depth": "4", "features": HOSTILE},
        examples=examples.read(connection, evaluation.lists, evaluation.held_out),
        profile=data_profile.read(connection),
    )


@pytest.fixture
def report(hold_out: HoldOut) -> Report:
    return report_of(hold_out, worlds.ragged())


def test_all_sections_and_numbers(report: Report) -> None:
    text = Page(render(report)).text
    evaluation = report.evaluation
    profile = replace(report.profile, max_of_user=report.profile.n_ratings)
    doubted = Page(render(replace(report, profile=profile))).text
    assert "Doubtful: one user has 100% of all interactions." in doubted
    low, high = evaluation.intervals["item_knn"]["ndcg_at_10"]
    lines = [
        "MovieLensXGB version 7 on ml-tiny",
        *(text for row in report.profile.rows() for text in row),
        "Compared with the baselines",
        "By length of history",
        "Coverage and popularity bias",
        "Feature importance",
        "Users",
        "2026-11-24 01:30 UTC",
        f"fifth: {evaluation.split}",
        f"{low:.4f} to {high:.4f}",
        *(f"feature_{i}" for i in range(1, 40)),
        f"The other {39 - N_FEATURES}",
        "max_depth",
        "By popularity of the item",
    ]
    for metrics in evaluation.rankers.values():
        lines += [f"{value:.4f}" for value in astuple(metrics)]
    lines += [f"{bias.gini:.4f}" for bias in evaluation.popularity_bias.values()]
    assert set(lines) <= set(text.splitlines())
    for length, bucket in evaluation.by_history_length.items():
        assert f"\n{length}\n{bucket['n_users']} user" in text
    for name, bucket in evaluation.by_popularity.items():
        assert f"\n{name}\n{bucket['n_held_out']} rating" in text
        assert f"\n{bucket['model']:.4f}\n" in text
    assert text.count("Recommended\n") == 10
    assert "prod" not in text


def test_titles_are_escaped(report: Report) -> None:
    parsed = Page(render(replace(report, release=HOSTILE)))
    assert f"on {HOSTILE}\n" in parsed.text
    assert f"\n{HOSTILE}\n" in parsed.text
    assert not parsed.seen & {"script", "b"}


def test_the_page_is_self_contained_and_reproducible(report: Report) -> None:
    page = render(report)
    loading = {"script", "link", "img", "iframe", "object", "src", "href"}
    assert not Page(page).seen & (loading | {"onclick", "onload"})
    assert not re.search(r"url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert page.startswith("<!DOCTYPE html>")
    assert page == render(report)


def test_bars_are_shares_of_the_largest_value(report: Report) -> None:
    page = render(replace(report, importances={"a": 2.0, "b": 0.5, "c": 0.0}))
    bars = re.findall(r'<rect class="(\w*)" height="10" width="([\d.]+)"/>', page)
    assert bars[-3:] == [("model", "100.00"), ("model", "25.00"), ("model", "0.00")]
    assert [ranker for ranker, _ in bars[:4]] == ["model", "", "", ""]
    intervals = report.evaluation.intervals
    highs = [intervals[name]["ndcg_at_10"][1] for name in report.evaluation.rankers]
    ends = re.findall(r'<line x1="[\d.]+" x2="([\d.]+)" y1="5"', page)[:4]
    assert ends == [f"{100 * high / max(highs):.2f}" for high in highs]


@pytest.mark.parametrize(
    ("ratings", "heading", "line"),
    [
        (
            {1: 5.0, 2: 4.0, 3: 3.0, 4: 4.5, 5: 2.5},
            "User 1: 4 ratings seen, 1 held out, 1 hit",
            "Item 5 ✓ 2.5",
        ),
        ({1: 5.0}, "User 1: 1 rating seen, 0 held out, 0 hits", "0.0000 to 0.0000"),
    ],
)
def test_one_user(
    hold_out: HoldOut, ratings: dict[int, float], heading: str, line: str
) -> None:
    report = replace(report_of(hold_out, rated(10, {1: ratings})), importances={})
    lines = Page(render(report)).text.splitlines()
    assert {heading, line} <= set(lines)


def test_comparison_of_a_served_model_with_prod(report: Report) -> None:
    compared = comparison.compare(report.evaluation, report.evaluation, "6", "served")
    changed = replace(report, comparison=compared, measured="served")
    text = Page(render(changed)).text
    assert text.count("prod (version 6)\n") == 4
    assert "+0.0000 to +0.0000\n" in text
    assert "it looks better here than it is" in text


@pytest.mark.slow
def test_a_phone_scrolls_tables_with_their_bars(report: Report, tmp_path: Path) -> None:
    """The page itself does not scroll sideways; a table's box does, by keys too."""
    path = tmp_path / "evaluation.html"
    path.write_text(render(report), encoding="utf-8")
    with chromium(tmp_path / "chromium") as browser:
        resize(browser, 360, 740)
        browser.get(path.as_uri())
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= 360
        boxes = browser.find_elements("css selector", ".wide")
        assert {box.get_attribute("tabindex") for box in boxes} == {"0"}
        bars = browser.find_elements("css selector", ".wide > table svg")
        assert len(bars) > 20
        assert all(bar.size["width"] >= 60 for bar in bars if bar.is_displayed())
