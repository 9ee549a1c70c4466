"""
An answer in JSON: asked for by words (and by the protocol, where the provider knows it), checked, asked again once.

The words are always there: a server that passes over `response_format` in silence cannot be told from one that keeps
it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rlmwatch.contract.json_answer import NotJson, answer_in, json_of
from rlmwatch.errors import BudgetExceeded, CeilingReached, ContextTooLong, InvalidAnswer
from rlmwatch.handlers.base import CheckAnswer, RunContext
from rlmwatch.models.base import Message, Reply, Request
from rlmwatch.runs.model import Run, Save

ALONE = "Reply with one JSON value and nothing else: no words before or after it, and no code fence."
BY_CODE = (
    "The answer is to be JSON. Call answer() with it as a Python value: dict, list, str, number or bool. Where you are "
    "asked to write the answer in words instead, write that JSON value alone."
)
FITS = "It must fit this JSON Schema, by which it is checked:"
AGAIN = "This is not as asked: {words}\n\nWrite the whole answer again, corrected: the JSON value alone."


def question(asked: Run | Save, *, by_code: bool = False) -> str:
    """Return what the model is asked, with what it is to answer in, where that is JSON."""
    wants = asked.wants_json
    if wants is None:
        return asked.asked
    return f"{asked.asked}\n\n{_in_words(wants, BY_CODE if by_code else ALONE)}"


def _in_words(wants: Mapping[str, Any], form: str) -> str:
    schema = wants["schema"]
    return form if schema is None else f"{form} {FITS}\n{json.dumps(schema, ensure_ascii=False, indent=1)}"


def with_format(request: Request, asked: Run | Save) -> Request:
    """Return *request* for an answer in JSON, where *asked* wants one."""
    wants = asked.wants_json
    return request if wants is None else replace(request, answer_format={"schema": wants["schema"]})


async def judged(value: object, schema: object, check: CheckAnswer, *, is_value: bool) -> str:
    """
    Return *value* as the JSON text that the answer is.

    Args:
        value: A text of the model's, in which the JSON stands, or with *is_value* what its code gave as the answer.
        schema: What it is to fit; None for anything.
        check: Holds a value against a schema.
        is_value: Whether a str may be the value itself, and not only a text that holds it.

    Raises:
        NotJson: It is not JSON, or does not fit; why.
    """
    if not isinstance(value, str):
        text = json_of(value)
        found = value
    else:
        try:
            text, found = answer_in(value)
        except NotJson:
            if not is_value:
                raise
            text, found = json_of(value), value
    problem = await check(schema, found)
    if problem is None:
        return text
    if is_value and isinstance(value, str) and found is not value and await check(schema, value) is None:
        return json_of(value)
    raise NotJson(problem)


async def answered(asked: Request, reply: Reply, wants: Mapping[str, Any], run_context: RunContext) -> Reply:
    """
    Return *reply* with the JSON in it as its text; where there is none, ask once more, with the validator's words.

    Raises:
        InvalidAnswer: The second try has none either, or could not be made.
    """
    try:
        return await _checked(reply, wants, run_context)
    except NotJson as error:
        words = _why(reply, error)
    messages = (*asked.messages, Message("assistant", reply.text), Message("user", AGAIN.format(words=words)))
    try:
        second = await run_context.calls.llm(replace(asked, messages=messages))
    except (BudgetExceeded, ContextTooLong) as error:
        if isinstance(error, CeilingReached):
            raise
        raise InvalidAnswer(f"{_NOT_JSON}: {words}\nIt was not asked again: {error}", reply.text) from error
    try:
        return await _checked(second, wants, run_context)
    except NotJson as error:
        raise InvalidAnswer(f"{_NOT_JSON}, at the second try either: {_why(second, error)}", second.text) from error


_NOT_JSON = "the answer is not the JSON that was asked for"


async def _checked(reply: Reply, wants: Mapping[str, Any], run_context: RunContext) -> Reply:
    text = await judged(reply.text, wants["schema"], run_context.check_answer, is_value=False)
    # Whole JSON is a whole answer, wherever the reply was cut behind it.
    return replace(reply, text=text, finish_reason="stop")


def _why(reply: Reply, error: NotJson) -> str:
    return (
        f"{error} (it was cut short at its `tokens`: make it shorter)"
        if reply.finish_reason == "length"
        else str(error)
    )
