"""What stands on the page: values in, elements out. Pure; the text of an element is made harmless by `markup.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from rlmwatch.contract.names import input_name
from rlmwatch.contract.state_words import STATES
from rlmwatch.money import dollars
from rlmwatch.page.chart import spending
from rlmwatch.page.markup import Element, el
from rlmwatch.page.model import CeilingView, ListedRun, RunView, WorkspaceView
from rlmwatch.page.states import class_of, ended_how, status_of
from rlmwatch.page.trajectory import clipped_text, trajectory
from rlmwatch.runs.unanswered import answered_before
from rlmwatch.runs.waiting import NOT_RUNNING

DAYS = 30
SHOWN = 20
"""Runs in a list of the first page."""
ERRORS = 10
QUESTION_CHARS = 140
WHY_CHARS = 600
MINUTE, HOUR, DAY = 60, 3600, 86_400

GOES_ON = ("running",)
WAITS = ("pending", "held")
ENDED = ("complete", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class PageContent:
    """
    What a document is made of.

    Attributes:
        title: Of the document; the browser's tab shows its beginning.
        main: The element `main`.
    """

    title: str
    main: Element


def overview(views: Sequence[WorkspaceView], ceiling: CeilingView, *, now: str) -> PageContent:
    """Return the first page: all workspaces of the user."""
    unfinished = [run for view in views for run in view.unfinished]
    recent = sorted((run for view in views for run in view.recent), key=lambda run: run.created_at, reverse=True)
    names = {view.name: view.title for view in views}
    running = [run for run in unfinished if run.status in GOES_ON]
    spent = _sum(view.days for view in views)
    per_day = ceiling.per_day_usd if ceiling.of_user else None
    main = el(
        "main",
        el("h1", "All folders"),
        _facts(views, spent.get(now[:10], 0.0), per_day),
        el(
            "div",
            el("div", _lists(unfinished, recent, names, now), class_="column"),
            el(
                "div",
                spending(spent, today=now, count=DAYS, ceiling_usd=per_day),
                _workspaces(views),
                class_="column",
            ),
            class_="columns",
        ),
        id="main",
        tabindex="-1",
    )
    return PageContent(f"{len(running)} running · rlmwatch" if running else "rlmwatch", main)


def workspace(view: WorkspaceView, ceiling: CeilingView, *, now: str) -> PageContent:
    """Return the page of one workspace."""
    per_day = None if ceiling.of_user else ceiling.per_day_usd
    main = el(
        "main",
        _way_up(),
        el("h1", view.title),
        el("p", view.folder, class_="path") if view.folder else None,
        el("p", view.answered_by or _nobody(view), class_="path"),
        _facts([view], view.days.get(now[:10], 0.0), per_day),
        _problem(view),
        el(
            "div",
            el("div", _lists(view.unfinished, view.recent, {}, now, shown=len(view.recent)), class_="column"),
            el(
                "div",
                spending(view.days, today=now, count=DAYS, ceiling_usd=per_day),
                class_="column",
            ),
            class_="columns",
        ),
        id="main",
        tabindex="-1",
    )
    return PageContent(f"{view.title} · rlmwatch", main)


def run(view: RunView, *, now: str) -> PageContent:
    """Return the page of one run: what was asked, each step, what came of it."""
    each = view.run
    title = _first_words(each)
    tokens = view.tokens
    facts = (
        ("Status", el("span", status_of(each), ended_how(each))),
        ("Kind", each.kind),
        ("File", each.path),
        ("Saved", _time(each.created_at, now)),
        ("Ended", _time(each.ended_at, now) if each.ended_at else None),
        ("Took", _between(each.created_at, each.ended_at) if each.ended_at else None),
        ("Model", view.model),
        ("Tokens", f"{tokens[0]:,} read, {tokens[1]:,} written" if any(tokens) else None),
        ("Cost", _cost(each.cost_usd) if each.cost_usd is not None or any(tokens) else None),
        ("Attempt", str(view.attempt) if view.attempt > 1 else None),
        ("Run", each.job_id),
    )
    main = el(
        "main",
        _way_up(view.workspace),
        el("h1", title, dir="auto"),
        el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in facts if value], class_="facts"),
        el("p", el("strong", "Now: "), each.progress, class_="progress", id="progress")
        if each.progress and each.status == "running"
        else None,
        _named("question", "Question", _text(view.question)) if view.question.strip() not in ("", title) else None,
        trajectory(view),
        _named("answer", "Answer", _text(view.answer)) if view.answer else None,
        _error(view),
        _still_there(view, now),
        _named("notes", "Worth knowing", el("ul", [el("li", note, dir="auto") for note in view.notes]))
        if view.notes
        else None,
        id="main",
        class_="one",
        tabindex="-1",
    )
    return PageContent(f"{title[:60]} · rlmwatch", main)


def _error(view: RunView) -> Element | None:
    if not view.error:
        return None
    if view.run.ended_at:
        return _named("error", "What is wrong", _text(view.error, class_="why"))
    return _named("error", "What it waits for", _text(view.error, class_="why waits"))


def _still_there(view: RunView, now: str) -> Element | None:
    """Return which older answer stands beside a question that has none now."""
    each, name = view.run, input_name(view.run.path)
    last = answered_before(each, view.workspace.recent, order=lambda one: one.created_at)
    if name is None or last is None:
        return None
    link = el("a", _time(last.ended_at or last.created_at, now), href=_address(each.workspace, last.job_id))
    return el("p", f"{name.output} still holds the answer of ", link, ".", id="still-there")


def nothing(what: str) -> PageContent:
    """Return the page that says that there is no such thing."""
    return PageContent("Not found · rlmwatch", el("main", _way_up(), el("h1", "Not found"), el("p", what), id="main"))


def _way_up(view: WorkspaceView | None = None) -> Element:
    return el(
        "nav",
        el("a", "All folders", href="./"),
        [el("span", " / ", aria_hidden="true"), el("a", view.title, href=_address(view.name))] if view else None,
        aria_label="Where you are",
        class_="way",
    )


def _address(workspace: str, job_id: str | None = None) -> str:
    return f"./?{urlencode({'workspace': workspace} | ({} if job_id is None else {'run': job_id}), errors='replace')}"


def _facts(views: Sequence[WorkspaceView], today_usd: float, per_day_usd: float | None) -> Element:
    """Return the sums on top; *per_day_usd* is the ceiling that holds for these workspaces together."""
    counts = {word: sum(1 for v in views for r in v.unfinished if r.status == word) for word in (*GOES_ON, *WAITS)}
    of = f" of {dollars(per_day_usd)}" if per_day_usd is not None else ""
    facts = [
        *((str(counts[status]), STATES[status]) for status in (*GOES_ON, *WAITS)),
        (f"{dollars(today_usd)}{of}", "today"),
    ]
    if len(views) > 1:
        facts.append((f"{sum(1 for view in views if view.answered_by)} of {len(views)}", "folders watched now"))
    return el("ul", [el("li", el("strong", value), " ", name) for value, name in facts], class_="sums", id="sums")


def _lists(
    unfinished: Iterable[ListedRun],
    recent: Sequence[ListedRun],
    names: dict[str, str],
    now: str,
    *,
    shown: int = SHOWN,
) -> list[Element | None]:
    all_open = list(unfinished)
    running = [each for each in all_open if each.status in GOES_ON]
    waiting = [each for each in all_open if each.status in WAITS]
    last: dict[tuple[str, str], ListedRun] = {}
    for each in recent:
        last.setdefault((each.workspace, each.path), each)
    # What was asked again since is no error of today.
    failed = [each for each in last.values() if each.status == "failed"][:ERRORS]
    ended = [each for each in recent if each.status in ENDED and each not in failed][:shown]
    return [
        _section("running", STATES["running"].capitalize(), running, names, now, empty="Nothing is running."),
        _section("waiting", "Waiting and held", waiting, names, now) if waiting else None,
        _section("errors", "Errors", failed, names, now) if failed else None,
        _section("recent", "Ended", ended, names, now, empty="No answers yet: save a question in a folder."),
    ]


def _section(
    name: str, title: str, runs: Sequence[ListedRun], names: dict[str, str], now: str, *, empty: str = ""
) -> Element:
    items = el("ol", [_item(each, names, now) for each in runs], class_="runs") if runs else el("p", empty)
    return _named(name, title, items)


def _named(name: str, title: str, *children: Element | None) -> Element:
    return el("section", el("h2", title, id=f"{name}-title"), children, id=name, aria_labelledby=f"{name}-title")


def _item(each: ListedRun, names: dict[str, str], now: str) -> Element:
    meta: list[Element | str] = [status_of(each), ended_how(each)]
    about = [
        each.path,
        *([names[each.workspace]] if each.workspace in names else []),
        each.kind,
        *([dollars(each.cost_usd)] if each.cost_usd is not None else []),
    ]
    for word in about:
        meta += [" · ", word]
    meta += [" · ", _time(each.created_at, now, short=True)]
    return el(
        "li",
        el("a", _first_words(each), href=_address(each.workspace, each.job_id), dir="auto", class_="question"),
        el("p", each.progress, class_="progress") if each.progress and each.status == "running" else None,
        _why(each.why),
        el("p", _one_line(each.answer, QUESTION_CHARS), class_="answer", dir="auto")
        if each.answer and not each.why
        else None,
        el("p", meta, class_="meta"),
        class_=f"run {class_of(each)}",
    )


def _first_words(each: ListedRun) -> str:
    return _one_line(each.question, QUESTION_CHARS) or each.path or each.job_id


def _one_line(text: str, limit: int) -> str:
    words = " ".join(text[: limit * 4].split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def _why(text: str) -> list[Element]:
    """Return the first line, which says what it is, and the others, which say what to do."""
    first, _, rest = text.strip().partition("\n")
    return [
        el("p", _one_line(line, WHY_CHARS), class_=kind, dir="auto")
        for line, kind in ((first, "why"), (rest, "meta"))
        if line
    ]


def _text(text: str | None, class_: str | None = None) -> Element:
    return el("pre", clipped_text(text or ""), dir="auto", class_=class_)


def _time(at: str | None, now: str, *, short: bool = False) -> Element | str:
    """Return a time as an age, and, but for *short*, as it is; what is no time as it is."""
    seconds = _seconds(at, now)
    if at is None or seconds is None:
        return at or "–"  # noqa: RUF001 (a dash, as tables have it)
    whole = f"{at[:10]} {at[11:19]} UTC"
    ago = _age(seconds)
    return el("time", ago if short else f"{whole} ({ago})", datetime=at, title=whole if short else None)


def _between(start: str, end: str | None) -> str | None:
    seconds = _seconds(start, end)
    return None if seconds is None else f"{seconds:,.1f} s" if seconds < MINUTE else _long(seconds)


def _seconds(start: str | None, end: str | None) -> float | None:
    try:
        return (datetime.fromisoformat(end or "") - datetime.fromisoformat(start or "")).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None


def _age(seconds: float) -> str:
    if seconds < 0:
        return "in the future"
    return "just now" if seconds < MINUTE / 4 else f"{_long(seconds)} ago"


def _long(seconds: float) -> str:
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min"
    return f"{seconds // HOUR:.0f} h" if seconds < 2 * DAY else f"{seconds // DAY:.0f} days"


def _problem(view: WorkspaceView) -> Element | None:
    return el("p", view.problem, class_="why", role="note", dir="auto") if view.problem else None


def _workspaces(views: Sequence[WorkspaceView]) -> Element:
    items = [
        el(
            "li",
            el("a", view.title, href=_address(view.name)),
            el("p", view.folder, class_="path") if view.folder else None,
            _problem(view),
            el("p", view.answered_by or _nobody(view), class_="meta"),
            class_="run other",
        )
        for view in views
    ]
    return _named("folders", "Folders", el("ul", items, class_="runs") if items else el("p", "None yet."))


def _cost(usd: float | None) -> str:
    return "price unknown" if usd is None else dollars(usd)


def _nobody(view: WorkspaceView) -> str:
    return NOT_RUNNING if view.folder else "run() and Session"


def _sum(days: Iterable[object]) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in days:
        if isinstance(each, dict):
            for day, usd in each.items():
                total[day] = total.get(day, 0.0) + usd
    return total
