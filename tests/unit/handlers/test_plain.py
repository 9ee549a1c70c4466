"""handlers/plain.py: what becomes of a plain call whose reply is not whole, or whose request is too long."""

import asyncio
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import BudgetExceeded, ContextTooLong
from rlmwatch.handlers import plain
from rlmwatch.models.base import Message, Reply, Request
from rlmwatch.runs.model import Outcome, RunStatus, Usage

USED = Usage(10, 5, 0.001, 1)


def ask(request, answer):
    """Ask *request*; return the result and every request that was made. *answer* gives a reply or raises."""
    asked = []

    async def llm(made, *, on_text=None):
        asked.append(made)
        return answer(made)

    harness = SimpleNamespace(
        options=RunOptions(model="m", tokens=300),
        calls=SimpleNamespace(llm=llm, used=USED),
        progress=lambda _progress: None,
        on_text=None,
        notes=lambda: (),
    )
    return asyncio.run(plain.ask(asdict(request), harness)), asked


def request(*, turns=0, chars=400, question="now", tokens=300):
    before = [
        Message(role, f"{role} {n} ".ljust(chars // 2, "x")) for n in range(turns) for role in ("user", "assistant")
    ]
    return Request("m", (Message("system", "be short"), *before, Message("user", question)), tokens)


def size(made):
    return sum(len(message.content) for message in made.messages)


@pytest.mark.parametrize(
    ("finish", "outcome"),
    [("length", Outcome.TOKEN_LIMIT), ("filter", Outcome.PROVIDER_ERROR), ("interrupted", Outcome.PROVIDER_ERROR)],
)
def test_an_answer_that_is_not_whole_is_partial_with_the_reason(finish, outcome):
    """An answer that the provider says is not whole is delivered as partial, and notes or outcome say by what."""
    reply = Reply("half of it", finish, USED, "m", provider_reason="SOME_WORD")
    result, _ = ask(request(), lambda _made: reply)
    assert (result.answer, result.partial, result.outcome) == ("half of it", True, outcome)
    assert finish == "length" or any("SOME_WORD" in note for note in result.notes)


@pytest.mark.parametrize(
    "text", ["", "  \n", "\u200b", "\ufeff\u2060\n", "\u00a0\u2003", "\u3164", "\u2800 \ufe0f", "\x00"]
)
@pytest.mark.parametrize("finish", ["stop", "length", "filter", "interrupted"])
def test_an_answer_that_cannot_be_seen_is_empty(text, finish):
    """White space, zero-width characters and fillers alone are no answer: the run has failed, and says why."""
    result, _ = ask(request(), lambda _made: Reply(text, finish, USED, "m"))
    assert (result.status, result.outcome, result.answer) == (RunStatus.FAILED, Outcome.PROVIDER_ERROR, None)
    assert "empty answer" in result.error


def too_long_above(limit_chars, **known):
    def answer(made):
        if size(made) > limit_chars:
            raise ContextTooLong("p: HTTP 400: too long", status=400, **known)
        return Reply("ok", "stop", USED, "m")

    return answer


@pytest.mark.parametrize("known", [{}, {"limit_tokens": 1000}, {"limit_tokens": 1000, "asked_tokens": 2060}])
def test_older_turns_are_left_out_of_a_chat_that_is_too_long(known):
    """A chat longer than the window is asked once more with its newest turns, and the person is told."""
    whole = request(turns=20)
    result, asked = ask(whole, too_long_above(4_000, **known))
    assert (result.answer, result.outcome) == ("ok", Outcome.SUCCESS)
    assert len(asked) == 2
    sent = asked[1].messages
    assert (sent[0], sent[-1]) == (whole.messages[0], whole.messages[-1])
    assert sent[1:-1] == whole.messages[-len(sent) + 1 : -1]  # the newest, without a hole
    assert sent[1].role == "user"
    assert len(sent) > 2
    assert any("oldest turns of this chat were left out" in note for note in result.notes)


def test_where_the_estimate_is_too_long_too_the_question_goes_alone():
    """A server that names a window and means another gets the question without any turn."""
    result, asked = ask(request(turns=20), too_long_above(300, limit_tokens=100_000))
    assert result.answer == "ok"
    assert [len(made.messages) for made in asked][-1] == 2
    assert len(asked) == 3


def test_a_question_that_is_too_long_alone_says_by_how_much_and_what_to_do():
    """Where nothing can be left out, the error has both numbers, the difference, and the way by a job."""
    answer = too_long_above(100, limit_tokens=8_192, asked_tokens=21_000)
    with pytest.raises(ContextTooLong, match="about 12,808 too many") as caught:
        ask(request(question="x" * 84_000), answer)
    said = str(caught.value)
    assert "21,000" in said
    assert "8,192" in said
    assert "_job_data.txt" in said
    assert "HTTP 400: too long" in said


def test_an_answer_that_cannot_fit_is_about_tokens():
    """Where `tokens` alone takes the window, the error says so instead of blaming the question."""
    with pytest.raises(ContextTooLong, match="set `tokens` lower"):
        ask(request(tokens=8_000), too_long_above(0, limit_tokens=8_192))


def test_a_call_whose_thoughts_used_all_its_tokens_is_made_once_more_with_more():
    """A reply without text that reached its limit is asked for again, with room for what its thoughts took."""
    replies = iter(
        [
            Reply("", "length", USED, "m", reasoning_tokens=300),
            Reply("It is 42.", "stop", USED, "m", reasoning_tokens=500),
        ]
    )
    result, asked = ask(request(), lambda _made: next(replies))
    assert (result.answer, result.outcome) == ("It is 42.", Outcome.SUCCESS)
    assert [made.max_tokens for made in asked] == [300, 1200]
    assert asked[0].messages == asked[1].messages


def test_a_second_try_without_text_is_the_last_one():
    """Where the thoughts use the longer try up too, the person is told to raise `tokens`."""
    result, asked = ask(request(), lambda _made: Reply("", "length", USED, "m"))
    assert result.status is RunStatus.FAILED
    assert "raise `tokens`" in result.error
    assert len(asked) == 2


def test_a_longer_try_that_the_caps_refuse_is_not_made():
    """Where nothing is left for a longer try, the first reply stands."""

    def answer(made):
        if made.max_tokens > 300:
            raise BudgetExceeded("spent", cap="max_tokens", limit=300, used=300)
        return Reply("", "length", USED, "m")

    result, _ = ask(request(), answer)
    assert "raise `tokens`" in result.error
