"""handlers/chat.py: what a chat turn asks, and what becomes of the reply."""

import asyncio
from types import SimpleNamespace

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import ChatState, Turn
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import InputError, NoProvider
from rlmwatch.handlers import plain
from rlmwatch.handlers.chat import chat, compose
from rlmwatch.models.base import Message, Reply
from rlmwatch.runs.attached import NOTHING_ATTACHED
from rlmwatch.runs.model import Outcome, Run, RunStatus, Usage
from rlmwatch.workspace.memory import Remembered

OPTIONS = RunOptions(model="m", tokens=300)


def turn(number):
    return Turn(input=f"question {number}", answer=f"answer {number}")


def run_of(prompt="now", frozen=None):
    return Run(
        "r1", 1, "chat_input.txt", Kind.CHAT, "chat", prompt, {}, "sha256:0", RunStatus.RUNNING, "t", frozen=frozen
    )


def answered(reply, *, run=None, remembered=None):
    """Answer *run* with a model that says *reply*; return the result, and what was asked and frozen."""
    seen = SimpleNamespace(request=None, frozen=None)

    async def llm(request, *, on_text=None):
        seen.request = request
        return reply

    async def freeze(frozen):
        seen.frozen = frozen
        return frozen

    async def memory():
        return remembered or Remembered(ChatState())

    async def attached():
        return NOTHING_ATTACHED

    harness = SimpleNamespace(
        options=OPTIONS,
        calls=SimpleNamespace(llm=llm, used=reply.usage, model=None),
        memory=memory,
        attached=attached,
        freeze=freeze,
        progress=lambda _progress: None,
        on_text=None,
        notes=lambda: (),
    )
    return asyncio.run(chat(run or run_of(), harness)), seen


def reply(text, finish="stop", **more):
    return Reply(text, finish, Usage(10, 5, 0.001, 1), "m-2026", **more)


def test_the_input_is_the_last_message_alone():
    """History goes before it as alternating messages, oldest first; the question stands by itself."""
    request = compose("now", OPTIONS, ChatState(turns=(turn(1), turn(2))))
    assert request.messages == (
        Message("system", plain.prompt("chat")),
        Message("user", "question 1"),
        Message("assistant", "answer 1"),
        Message("user", "question 2"),
        Message("assistant", "answer 2"),
        Message("user", "now"),
    )
    assert request.max_tokens == 300


def test_a_system_prompt_of_the_person_replaces_ours_and_an_empty_one_removes_it():
    """`system:` says all there is; `system: ""` sends none."""
    mine = compose("now", OPTIONS.model_copy(update={"system": "Rhyme."}), ChatState())
    assert mine.messages[0] == Message("system", "Rhyme.")
    none = compose("now", OPTIONS.model_copy(update={"system": ""}), ChatState())
    assert none.messages == (Message("user", "now"),)


@pytest.mark.parametrize("options", [RunOptions(context=("a.txt",)), RunOptions(tools=("research",))])
def test_what_a_plain_call_cannot_do_is_said(options):
    """Context and tools are for the other kinds; the error says how to get them."""
    with pytest.raises(InputError, match="handler: job"):
        compose("now", options.over(OPTIONS), ChatState())


def test_no_model_named_anywhere_is_said():
    """A server without a default model needs a name."""
    with pytest.raises(NoProvider, match="set `model`"):
        compose("now", RunOptions(tokens=5), ChatState())


def test_a_good_reply_is_the_answer():
    """The answer is the text without the white space around it."""
    result, seen = answered(reply("\n  Paris.\n"))
    assert (result.status, result.outcome, result.answer, result.partial) == (
        RunStatus.COMPLETE,
        Outcome.SUCCESS,
        "Paris.",
        False,
    )
    assert result.model == "m-2026"
    assert seen.frozen["messages"][-1] == {"role": "user", "content": "now"}


def test_an_answer_that_was_cut_short_says_so():
    """What reached the token limit is delivered as partial, with the reason."""
    result, _ = answered(reply("Once upon a", "length"))
    assert (result.outcome, result.partial, result.answer) == (Outcome.TOKEN_LIMIT, True, "Once upon a")


def test_an_empty_answer_is_a_failure_with_a_cure():
    """A reasoning model that used up its tokens gives no answer; the last good one stays."""
    result, _ = answered(reply("  ", "length"))
    assert (result.status, result.outcome) == (RunStatus.FAILED, Outcome.PROVIDER_ERROR)
    assert "raise `tokens`" in result.error


def test_a_second_attempt_asks_exactly_what_the_first_pinned():
    """An edit of the state file between two attempts changes nothing: the reply that was paid for still fits."""
    _, first = answered(reply("x"))
    run = run_of(prompt="edited", frozen=first.frozen)
    _, second = answered(reply("x"), run=run, remembered=Remembered(ChatState(turns=(turn(1),))))
    assert second.request == first.request
    assert second.frozen is None


def test_a_damaged_memory_is_told():
    """The person reads in the status that the conversation began afresh."""
    result, _ = answered(reply("x"), remembered=Remembered(ChatState(), "it was damaged"))
    assert result.notes == ("it was damaged",)
