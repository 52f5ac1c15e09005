import re

import pytest

from batch.evaluation.markup import Html, bar, element, escaped, items, joined, table

HOSTILE = "<script>alert('x')</script> & \"co\" (1995)"


def test_text_is_escaped_and_markup_is_not() -> None:
    text = element("p", HOSTILE)
    assert text == (
        "<p>&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;co&quot; "
        "(1995)</p>"
    )
    assert escaped(text) is text
    assert joined(["<", Html("<br>")]) == "&lt;<br>"
    assert element("i", "a", class_='"x') == '<i class="&quot;x">a</i>'


def test_lists_and_tables_escape_their_cells() -> None:
    assert items("ol", ["<", Html("<b>x</b>")]) == (
        "<ol><li>&lt;</li><li><b>x</b></li></ol>"
    )
    laid_out = table(["<head>"], [["<row>", "<cell>"]])
    assert "<th>&lt;head&gt;</th>" in laid_out
    assert "<tr><th>&lt;row&gt;</th><td>&lt;cell&gt;</td></tr>" in laid_out


@pytest.mark.parametrize(
    ("value", "largest", "width"),
    [
        (0.5, 2.0, "25.00"),
        (2.0, 2.0, "100.00"),
        (0.0, 0.0, "0.00"),
        (-1.0, 2.0, "0.00"),
    ],
)
def test_a_bar_is_as_long_as_its_share(
    value: float, largest: float, width: str
) -> None:
    """Of nothing too, and none has a length below 0."""
    drawn = bar(value, largest, class_="model")
    assert f'<rect class="model" height="10" width="{width}"/>' in drawn
    assert "<line" not in drawn


def test_an_interval_is_a_line_with_two_ends() -> None:
    lines = re.findall(r'<line x1="(.*?)" x2="(.*?)"', bar(0.5, 1.0, (0.4, 0.75)))
    assert lines == [("40.00", "75.00"), ("40.00", "40.00"), ("75.00", "75.00")]
