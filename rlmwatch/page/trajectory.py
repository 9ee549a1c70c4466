"""The steps of a run, or its calls where it has no steps, as `rlmwatch show` has them. Pure."""

from __future__ import annotations

import json
from typing import Any

from rlmwatch.contract.state_words import CALLS, STEPS
from rlmwatch.ledger.overview import CallSummary
from rlmwatch.money import dollars
from rlmwatch.page.markup import Element, el
from rlmwatch.page.model import RunView
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.usage import Usage

MAX_CHARS = 50_000
"""Of one text on the page; `rlmwatch show` has all of it."""
MAX_CHARS_IN_ALL = 2_000_000
"""Of all texts of the steps: what is over is left out, the oldest first."""
OPEN_AT_MOST = 8
"""Of more steps than that only the last ones stand open."""
OPEN_LAST = 3


def clipped_text(text: str) -> str:
    """Return *text* up to a limit, and how much more there is."""
    if len(text) <= MAX_CHARS:
        return text
    return f"{text[:MAX_CHARS]}\n… {len(text) - MAX_CHARS:,} more characters"


def trajectory(view: RunView) -> Element | None:
    """Return what the run did, step by step; None where it has not begun."""
    if view.steps:
        steps: list[StepRecord] = []
        room = MAX_CHARS_IN_ALL
        for step in reversed(view.steps):
            room -= sum(min(len(text), MAX_CHARS) for text in (step.code or "", step.shown, str(step.answer or "")))
            if room < 0:
                break
            steps.insert(0, step)
        left_out = view.steps_in_all - len(steps)
        many = len(steps) > OPEN_AT_MOST
        items = [
            _step(step, place, is_open=not many or place >= len(steps) - OPEN_LAST) for place, step in enumerate(steps)
        ]
        return el(
            "section",
            el("h2", f"Steps ({view.steps_in_all})", id="steps-title"),
            el("p", f"The first {left_out} are left out here; `rlmwatch show {view.run.job_id}` has them all.")
            if left_out > 0
            else None,
            el("ol", items, class_="steps"),
            id="steps",
            aria_labelledby="steps-title",
        )
    if not view.calls:
        return None
    return el(
        "section",
        el("h2", f"Calls ({len(view.calls)})", id="calls-title"),
        el("ol", [_call(call, place) for place, call in enumerate(view.calls)], class_="steps"),
        id="calls",
        aria_labelledby="calls-title",
    )


def _step(step: StepRecord, place: int, *, is_open: bool) -> Element:
    where = f"Step {step.step}" if not step.path else f"Sub-engine {step.path}, step {step.step}"
    times = f"{step.cell_s:.2f} s in code, {step.calls_s:.2f} s in calls"
    return el(
        "li",
        el(
            "details",
            el(
                "summary",
                el("strong", where),
                f": {how}" if (how := STEPS.get(step.ended, step.ended)) else None,
                el("span", f"{_usage(step.usage)} · {times}", class_="meta"),
            ),
            [el("h3", "Code"), el("pre", el("code", clipped_text(step.code)))] if step.code is not None else None,
            [el("h3", "Printed"), el("pre", clipped_text(step.shown.rstrip()), class_="shown")]
            if step.shown.strip()
            else None,
            [el("h3", "Gave as the answer"), el("pre", clipped_text(_value(step.answer)), dir="auto")]
            if step.answer is not None
            else None,
            open=is_open,
            id=f"step-{place}",
        ),
    )


def _call(call: CallSummary, place: int) -> Element:
    return el(
        "li",
        el(
            "details",
            el(
                "summary",
                el("strong", call.model),
                f": {CALLS.get(call.state, call.state)}",
                el("span", _usage(call.usage), class_="meta"),
            ),
            _request(call.request),
            [el("h3", "Reply"), el("pre", clipped_text(_reply(call.reply)), dir="auto")] if call.reply else None,
            id=f"call-{place}",
        ),
    )


def _request(request: dict[str, Any] | None) -> list[Element]:
    if request is None:
        return [el("p", "The request is too large to be shown here.")]
    messages = request.get("messages")
    if not isinstance(messages, list):
        return [el("h3", "Request"), el("pre", clipped_text(_value(request)))]
    pieces: list[Element] = []
    for message in messages:
        if isinstance(message, dict):
            pieces += [
                el("h3", f"Sent as {message.get('role', 'a message')}"),
                el("pre", clipped_text(_value(message.get("content", ""))), dir="auto", class_="shown"),
            ]
    return pieces


def _reply(reply: dict[str, Any]) -> str:
    return _value(reply.get("text", reply))


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)


def _usage(usage: Usage) -> str:
    cost = "" if usage.cost_usd is None else f" · {dollars(usage.cost_usd)}"
    searches = f", {usage.searches} search{'' if usage.searches == 1 else 'es'}" if usage.searches else ""
    calls = "1 call" if usage.llm_calls == 1 else f"{usage.llm_calls} calls"
    return f"{calls}{searches}, {usage.input_tokens:,} + {usage.output_tokens:,} tokens{cost}"
