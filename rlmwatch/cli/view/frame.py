"""
The view as lines of text for a terminal of so many columns and rows. Pure.

1. No line is wider than the terminal: wide characters (CJK, emoji) count double, and what would move the cursor is
   written as an escape.
2. Colour says nothing that words or signs do not say too; only the terminal's own eight colours are used, and never
   black or white, so that it is readable on light and dark.
3. Where there is less room than rows: those that have ended go first, the oldest before others, then those that wait.
   How many are not shown is said. Held questions and the notices stay at the bottom.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from rlmwatch.cli.view.questions import Heading, Question, ViewState
from rlmwatch.cli.view.viewport import Signs, Viewport
from rlmwatch.cli.view.words import Notice
from rlmwatch.contract.documents import JobStatus
from rlmwatch.contract.names import input_name
from rlmwatch.contract.state_words import CUT_SHORT, NOT_COMPUTED
from rlmwatch.money import dollars

HINT = "Save chat_input.txt, or any <name>_input.txt"
NAME_CELLS = (12, 40)
"""Of the column of names: as wide as the widest, within a third of the terminal, and these."""
CURE_LINES = 3
"""Of what to do, under an error: the whole stands in the error file."""
FOLDER_CELLS = 24
"""Of the folder, before what answers gives way."""
HINT_LINES = 2
COUNTED = ("answered", CUT_SHORT, NOT_COMPUTED, "failed", "cancelled", "running", "waiting", "held")
"""States, in the order in which the heading counts them."""
NEARLY = 0.8
"""Of a ceiling: from here on it stands out."""
TENTHS_BELOW_S, MINUTES_FROM_S, HOURS_FROM_S = 10, 120, 7200
DIM, BAD, GOOD, HELD = "dim", "red", "green", "magenta"


def frame(shown: ViewState, viewport: Viewport, *, now: datetime) -> list[Text]:
    """Return the lines of the view, each for itself no wider than the *viewport*, and no more than it has."""
    head = heading(shown, viewport)
    names = name_cells(shown, viewport)
    held = [row for row in shown.rows.values() if row.status is JobStatus.HELD]
    rest = [row for row in shown.rows.values() if row.status is not JobStatus.HELD]
    foot = [line for notice in shown.notices for line in notice_lines(notice, viewport)]
    foot += [line for row in held for line in row_lines(row, viewport, names, now=now)]
    if foot and rest:
        foot = [Text(), *foot]
    if viewport.height is None:
        body = [line for row in rest for line in row_lines(row, viewport, names, now=now)]
        return [*head, Text(), *body, *foot]
    room = max(1, viewport.height - len(head) - 1)
    foot = _cropped(foot, room - min(len(rest), max(2, room // 2)), viewport)
    body = _within(rest, room - len(foot), viewport, names, now=now)
    return [*head, Text(), *body, *foot][: viewport.height]


def heading(shown: ViewState, viewport: Viewport) -> list[Text]:
    """Return folder and who answers, what was spent and what goes on, and what a person may do."""
    about, signs = shown.heading, viewport.signs
    folder = viewport.plain(about.folder)
    room = viewport.width - cell_len("rlmwatch  ") - 2
    answers = viewport.fit(about.answers, room - min(cell_len(folder), FOLDER_CELLS))
    answers = answers if cell_len(answers) >= min(cell_len(about.answers), NAME_CELLS[0]) else ""
    folder = viewport.fit_end(about.folder, room - cell_len(answers))
    gap = " " * (room + 2 - cell_len(folder) - cell_len(answers))
    first = _line(viewport, ("rlmwatch", "bold"), (f"  {folder}{gap * bool(answers)}{answers}", ""))
    money_spent, stands_out = spent(about)
    between = f" {signs.between} " if money_spent else ""
    counts = viewport.fit(_counts(shown), viewport.width - cell_len(money_spent + between))
    second = _line(viewport, (money_spent, HELD if stands_out else ""), (between, DIM), (counts, ""))
    page = [_line(viewport, (viewport.fit(about.page, viewport.width), DIM))] if about.page else []
    return [first, second, *hint(shown, viewport), *page]


def hint(shown: ViewState, viewport: Viewport) -> list[Text]:
    """Return what the daemon does, or what a person may do."""
    words = "; ".join(filter(None, (shown.heading.state or HINT, shown.heading.ends)))
    return [_line(viewport, (line, DIM)) for line in viewport.wrapped(words, viewport.width, HINT_LINES)]


def spent(about: Heading) -> tuple[str, bool]:
    """Return what was spent of which ceiling today, and whether it is nearly all of that."""
    if about.spent_usd is None:
        return "", False
    if about.ceiling_usd is None:
        return f"{dollars(about.spent_usd)} today", False
    return (
        f"{dollars(about.spent_usd)} of {dollars(about.ceiling_usd)} today",
        about.spent_usd >= NEARLY * about.ceiling_usd,
    )


def _counts(shown: ViewState) -> str:
    counts = Counter(row.word for row in shown.rows.values())
    return ", ".join(f"{counts[word]} {word}" for word in COUNTED if counts[word]) or "nothing asked yet today"


def row_lines(row: Question, viewport: Viewport, names: int, *, now: datetime) -> list[Text]:
    """Return the line of a question, its name in *names* cells; under an error, what to do about it."""
    sign, style = _sign(row, viewport.signs)
    what = _what(row)
    right = _right(row, now=now)
    name = set_cell_size(viewport.fit_end(row.name, names), names)
    room = viewport.width - cell_len(f"{sign} {name}  ") - (cell_len(right) + 2 if right else 0)
    if room < NAME_CELLS[0] and right:  # too narrow for what it cost
        right, room = "", room + cell_len(right) + 2
    is_cut = cell_len(viewport.plain(what)) > room and row.status in (JobStatus.FAILED, JobStatus.HELD)
    what = row.word if is_cut else what
    middle = set_cell_size(viewport.fit(what, room), max(0, room)) if right else viewport.fit(what, room)
    quiet = DIM if row.status in (JobStatus.PENDING, JobStatus.CANCELLED) else ""
    loud = style if row.status in (JobStatus.FAILED, JobStatus.HELD) else quiet
    line = _line(viewport, (f"{sign} ", style), (f"{name}  ", loud), (middle, loud), (f"  {right}" * bool(right), DIM))
    cure = _cure(row, cut=is_cut)
    below = viewport.wrapped(cure, max(8, viewport.width - 4), CURE_LINES)
    return [line, *(_line(viewport, (f"    {each}", "")) for each in below)]


def name_cells(shown: ViewState, viewport: Viewport) -> int:
    """Return how wide the column of names is."""
    least, most = NAME_CELLS
    widest = max((cell_len(viewport.plain(row.name)) for row in shown.rows.values()), default=0)
    return min(max(widest, least), max(viewport.width // 3, least), most)


def _sign(row: Question, signs: Signs) -> tuple[str, str]:
    return {
        JobStatus.PENDING: (signs.waits, DIM),
        JobStatus.RUNNING: (signs.works, "bold"),
        JobStatus.HELD: (signs.held, HELD),
        JobStatus.COMPLETE: (signs.done, GOOD),
        JobStatus.FAILED: (signs.failed, BAD),
        JobStatus.CANCELLED: (signs.ended, DIM),
    }[row.status]


def _what(row: Question) -> str:
    """Return what a row says."""
    match row.status:
        case JobStatus.COMPLETE:
            how = row.word if row.word == NOT_COMPUTED else row.ended_how
            return (f"({how}) " if row.word != "answered" else "") + row.text
        case JobStatus.FAILED | JobStatus.HELD:
            return problem_and_cure(row.text)[0]
        case JobStatus.CANCELLED:
            return row.ended_how
        case JobStatus.RUNNING:
            return doing(row)
        case JobStatus.PENDING:
            return f"{row.word}: {row.text}" if row.text else row.word


def _cure(row: Question, *, cut: bool) -> str:
    """Return what to do about a row; `""` where nothing is. Where its problem did not fit (*cut*), that comes first."""
    if row.status not in (JobStatus.FAILED, JobStatus.HELD):
        return ""
    problem, cure = problem_and_cure(row.text)
    if not cure and row.status is JobStatus.FAILED:
        where = f"-w {row.folder} " if row.folder else ""
        again = f"rlmwatch again {row.name}" if input_name(row.name) else f"rlmwatch retry {where}{row.job_id}"
        cure = f"Change the file and save it, or: {again}"
    return "\n".join(([problem] if cut else []) + [cure])


def doing(row: Question) -> str:
    """Return, in a few words, what goes on in a run that works."""
    parts = []
    if row.step:
        parts.append(f"step {row.step}" + (f" of {row.steps}" if row.steps else ""))
    if row.text:  # a provider that is asked again, or its rate limit
        parts.append(row.text)
    if row.chars:
        parts.append(f"reading {row.chars:,} characters")
    if row.searches:
        parts.append(f"{row.searches} search{'' if row.searches == 1 else 'es'}")
    if row.note and not row.text:
        parts.append(row.note)
    return ", ".join(parts) or "starting"


def problem_and_cure(text: str) -> tuple[str, str]:
    """Return the first sentence of an error, which says what is wrong, and the rest, which says what to do."""
    whole = text.strip()
    at = [(found, len(mark)) for mark in ("\n", ". ", "; ", " — ") if (found := whole.find(mark)) > 0]
    if not at:
        return whole.removesuffix("."), ""
    place, length = min(at)
    cure = whole[place + length :].strip()
    return whole[:place], cure[:1].upper() + cure[1:]


def seconds(passed: float) -> str:
    """Return a time that has passed, as a person reads it."""
    if passed < TENTHS_BELOW_S:
        return f"{passed:.1f} s"
    if passed < MINUTES_FROM_S:
        return f"{passed:.0f} s"
    return f"{passed / 60:.0f} min" if passed < HOURS_FROM_S else f"{passed / 3600:.1f} h"


def _right(row: Question, *, now: datetime) -> str:
    """Return when it ended or was held, how long it took, or takes, and what it cost."""
    at = row.ended_at or (row.updated if row.status is JobStatus.HELD else None)
    parts = [] if at is None else [_clock(at, now)]
    if row.began_at is not None and (row.works or row.ended_at is not None):
        passed = max(0.0, ((row.ended_at or now) - row.began_at).total_seconds())
        parts.append(f"{int(passed)} s" if row.works and passed < MINUTES_FROM_S else seconds(passed))
    if row.cost_usd is not None and (row.cost_usd or (row.asked and row.status.ended)):
        parts.append(dollars(row.cost_usd))
    return "  ".join(parts)


def _clock(at: datetime, now: datetime) -> str:
    """Return the time *at* as the clock of *now* shows it; the day, where that is another."""
    there = at.astimezone(now.tzinfo)
    return f"{there:%H:%M}" if there.date() == now.date() else f"{there:%Y-%m-%d}"


def notice_lines(notice: Notice, viewport: Viewport) -> list[Text]:
    """Return the lines of a *notice*."""
    first, *rest = viewport.wrapped(notice.what, max(8, viewport.width - 8), CURE_LINES) or [""]
    style = BAD if notice.serious else HELD
    indented = [_line(viewport, (f"        {line}", style)) for line in rest]
    return [_line(viewport, (f"! {notice.at} ", style), (first, style)), *indented]


def _within(rows: list[Question], room: int, viewport: Viewport, names: int, *, now: datetime) -> list[Text]:
    """Return the lines of *rows*, in at most *room* lines (rule 3)."""
    lines = {row.key: row_lines(row, viewport, names, now=now) for row in rows}
    count = sum(map(len, lines.values()))
    if count <= room:
        return [line for each in lines.values() for line in each]
    ended = [row for row in rows if row.status.ended]
    waits = [row for row in rows if row.status is JobStatus.PENDING]
    works = [row for row in rows if row.works]
    earlier = later = 0
    for row in (*ended, *reversed(waits), *reversed(works)):
        if count + 1 <= room:
            break
        count -= len(lines.pop(row.key))
        earlier += row.status.ended
        later += not row.status.ended
    words = ", ".join([f"{earlier} earlier"] * bool(earlier) + [f"{later} more that wait or run"] * bool(later))
    more = _line(viewport, (f"{viewport.signs.cut} {words}: rlmwatch runs", DIM))
    return [more, *(line for each in lines.values() for line in each)][: max(0, room)]


def _cropped(lines: list[Text], room: int, viewport: Viewport) -> list[Text]:
    if len(lines) <= room:
        return lines
    if room < 2:  # noqa: PLR2004 (a line, and one that says that there are more)
        return []
    return [*lines[: room - 1], _line(viewport, (f"{viewport.signs.cut} and more: rlmwatch status", DIM))]


def _line(viewport: Viewport, *parts: tuple[str, str]) -> Text:
    """Return *parts*, text and style each, as one line; what is beyond the viewport is cut off."""
    line, room = Text(no_wrap=True, end=""), viewport.width
    for text, style in parts:
        piece = text if cell_len(text) <= room else set_cell_size(text, room)
        line.append(piece, style)
        room -= cell_len(piece)
    return line
