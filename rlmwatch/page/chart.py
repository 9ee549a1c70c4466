"""Spending by day as a small chart, and the same as a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from rlmwatch.money import dollars
from rlmwatch.page.markup import Element, el

WIDTH = 100.0
HEIGHT = 100.0
GAP = 0.25
"""Of a bar's place, left free."""
LEAST = 1.5
"""Height of a bar that would hardly be seen."""


def last_days(today: str, count: int) -> list[str]:
    """Return the last *count* days up to *today* (RFC 3339), oldest first."""
    last = date.fromisoformat(today[:10])
    return [(last - timedelta(days=back)).isoformat() for back in range(count - 1, -1, -1)]


def spending(days: Mapping[str, float], *, today: str, count: int, ceiling_usd: float | None) -> Element:
    """
    Return the chart of the last *count* days with its text and its table.

    Args:
        days: US dollars by UTC day.
        today: RFC 3339 in UTC.
        count: How many days.
        ceiling_usd: Of a day; drawn where it is near enough to be seen.
    """
    shown = last_days(today, count)
    spent = [days.get(day, 0.0) for day in shown]
    most = max(spent)
    total = sum(spent)
    said = f"{dollars(total)} in {count} days"
    said += f", most on {_short(shown[spent.index(most)])}: {dollars(most)}." if most else "."
    table = [(day, usd) for day, usd in zip(shown, spent, strict=True) if usd]
    return el(
        "section",
        el("h2", "Spending by day", id="spending-title"),
        el("p", said),
        _figure(shown, spent, ceiling_usd, said) if most else None,
        _table(table) if table else None,
        id="spending",
        aria_labelledby="spending-title",
    )


def _figure(days: list[str], spent: list[float], ceiling_usd: float | None, said: str) -> Element:
    most = max(spent)
    top = ceiling_usd if ceiling_usd is not None and most < ceiling_usd <= most * 3 else most * 1.05
    # One that lies far above has neither line nor name: a bar as high as the chart would look as if it were reached.
    drawn = None if ceiling_usd is None or ceiling_usd > top else ceiling_usd
    return el("figure", _bars(days, spent, top, drawn, said), _caption(days, drawn))


def _bars(days: list[str], spent: list[float], top: float, ceiling_usd: float | None, said: str) -> Element:
    step = WIDTH / len(days)
    bars = []
    for place, (day, usd) in enumerate(zip(days, spent, strict=True)):
        height = 0.0 if not usd else max(LEAST, HEIGHT * usd / top)
        bars.append(
            el(
                "rect",
                el("title", f"{day}: {dollars(usd)}"),
                x=f"{step * (place + GAP / 2):.2f}",
                y=f"{HEIGHT - height:.2f}",
                width=f"{step * (1 - GAP):.2f}",
                height=f"{height:.2f}",
                class_="bar today" if place == len(days) - 1 else "bar",
            )
        )
    at = None if ceiling_usd is None else f"{max(0.5, HEIGHT - HEIGHT * ceiling_usd / top):g}"
    line = el("line", x1="0", x2=f"{WIDTH:g}", y1=at, y2=at, class_="ceiling") if at is not None else None
    return el(
        "svg",
        el("title", "Spending by day", id="chart-title"),
        el("desc", said, id="chart-desc"),
        bars,
        line,
        el("line", x1="0", x2=f"{WIDTH:g}", y1=f"{HEIGHT:g}", y2=f"{HEIGHT:g}", class_="axis"),
        role="img",
        aria_labelledby="chart-title chart-desc",
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        preserveAspectRatio="none",
    )


def _caption(days: list[str], ceiling_usd: float | None) -> Element:
    return el(
        "figcaption",
        el("span", _short(days[0])),
        el("span", "" if ceiling_usd is None else f"ceiling {dollars(ceiling_usd)} a day"),
        el("span", "today (UTC)"),
    )


def _table(rows: list[tuple[str, float]]) -> Element:
    return el(
        "details",
        el("summary", "The same as a table"),
        el(
            "table",
            el("caption", "US dollars by day (UTC); days without spending are left out"),
            el("thead", el("tr", el("th", "Day", scope="col"), el("th", "Spent", scope="col", class_="number"))),
            el(
                "tbody",
                [
                    el("tr", el("th", day, scope="row"), el("td", dollars(usd), class_="number"))
                    for day, usd in reversed(rows)
                ],
            ),
        ),
        id="spending-table",
    )


def _short(day: str) -> str:
    return f"{date.fromisoformat(day):%d %b}".lstrip("0")
