"""HTML in which whatever is not markup is escaped: titles come from outside."""

import html
from collections.abc import Iterable, Sequence

from batch.evaluation.confidence import Interval


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escaped(content: str) -> Html:
    """Let text mean itself, and leave markup as it is."""
    return content if isinstance(content, Html) else Html(html.escape(content))


def element(tag: str, *content: str, class_: str = "") -> Html:
    """Wrap text and markup into an element."""
    attribute = f' class="{html.escape(class_)}"' if class_ else ""
    return Html(f"<{tag}{attribute}>{joined(content)}</{tag}>")


def joined(parts: Iterable[str]) -> Html:
    """Put text and markup one after the other."""
    return Html("".join(map(escaped, parts)))


def items(tag: str, entries: Iterable[str]) -> Html:
    """List entries, as `ol` or `ul`."""
    return element(tag, *(element("li", entry) for entry in entries))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """Lay out rows, the first cell of which says what each is of."""
    lines = [
        element("tr", element("th", first), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    heading = element("tr", *(element("th", name) for name in head))
    laid_out = element("table", element("thead", heading), element("tbody", *lines))
    # one too wide for a phone is moved within its own box
    return element("div", laid_out, class_="wide")


def bar(
    value: float, largest: float, interval: Interval | None = None, class_: str = ""
) -> Html:
    """Draw a bar as long as `value` is of `largest`, and a line over its interval."""

    def scaled(number: float) -> str:
        return f"{100 * max(0.0, number) / largest if largest > 0 else 0.0:.2f}"

    drawn = [
        f'<rect class="{html.escape(class_)}" height="10" width="{scaled(value)}"/>'
    ]
    if interval is not None:
        low, high = map(scaled, interval)
        drawn.append(f'<line x1="{low}" x2="{high}" y1="5" y2="5"/>')
        drawn += [f'<line x1="{x}" x2="{x}" y1="2" y2="8"/>' for x in (low, high)]
    return Html(
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(drawn)}</svg>"
    )
