"""How a run stands, in the words of `contract/state_words.py`, as the page shows it. Pure."""

from __future__ import annotations

from rlmwatch.contract.state_words import CUT_SHORT, NOT_COMPUTED, STATES, state_word, with_reason
from rlmwatch.page.markup import Element, el
from rlmwatch.page.model import ListedRun

_KNOWN = frozenset(STATES)


def status_of(each: ListedRun) -> Element:
    """Return the word for the state of a run, in its colour."""
    return el("span", _word(each), class_=f"status {class_of(each)}")


def class_of(each: ListedRun) -> str:
    """Return the classes by which the style sheet colours a run."""
    known = each.status if each.status in _KNOWN else "other"
    return f"{known} short" if _word(each) in (CUT_SHORT, NOT_COMPUTED) else known


def _word(each: ListedRun) -> str:
    return state_word(each.status, outcome=each.outcome, partial=each.partial)


def ended_how(each: ListedRun) -> str:
    """Return why it ended as it did, to be put after its word; `""` where there is nothing to be said."""
    word = _word(each)
    reason = with_reason(each.status, outcome=each.outcome, partial=each.partial).removeprefix(word)
    return f" ({reason.removeprefix(': ')})" if reason else ""
