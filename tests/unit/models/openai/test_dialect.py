"""What one model takes, as far as its refusals have taught."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rlmwatch.models.base import Message, Request
from rlmwatch.models.openai.dialect import Dialect

REQUEST = Request("m", (Message("user", "hi"),), 7, temperature=0.5, seed=3)


def test_openai_itself_gets_the_new_name_of_the_limit():
    """OpenAI's newer models refuse `max_tokens`; all others are sent the name that every server knows."""
    assert Dialect.of("https://api.openai.com/v1").body(REQUEST)["max_completion_tokens"] == 7
    for url in ("https://openrouter.ai/api/v1", "http://127.0.0.1:8080/v1", "https://api.openai.com.evil.example/v1"):
        body = Dialect.of(url).body(REQUEST)
        assert body["max_tokens"] == 7
        assert "max_completion_tokens" not in body


def test_a_request_always_streams_with_usage():
    """Every request streams and asks for usage, and what is not said is not sent."""
    body = Dialect("max_tokens").body(Request("m", (Message("user", "hi"),), 7))
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_an_optional_parameter_that_is_refused_is_left_out():
    """A refusal that names an optional parameter teaches to leave it out, and only that."""
    dialect = Dialect("max_tokens")
    after = dialect.after_refusal(dialect.body(REQUEST), "temperature Unsupported value: 'temperature'")
    assert after is not None
    body = after.body(REQUEST)
    assert "temperature" not in body
    assert body["seed"] == 3


def test_the_limit_is_renamed_but_never_left_out():
    """A model that refuses both names of the limit is refused: a call without a limit could overshoot a budget."""
    first = Dialect("max_tokens")
    second = first.after_refusal(first.body(REQUEST), "Use 'max_completion_tokens' instead of 'max_tokens'")
    assert second is not None
    assert second.body(REQUEST)["max_completion_tokens"] == 7
    assert second.after_refusal(second.body(REQUEST), "unknown field max_completion_tokens") is None


def test_words_that_only_look_like_a_parameter_teach_nothing():
    """A refusal for another reason is passed on as it is."""
    dialect = Dialect("max_tokens")
    for words in ("the context length is exceeded", "seeded temperatures are fine", "my_max_tokens", ""):
        assert dialect.after_refusal(dialect.body(REQUEST), words) is None


def test_a_parameter_that_was_not_sent_cannot_be_the_cause():
    """A refusal that names what was not sent is passed on."""
    plain = Request("m", (Message("user", "hi"),), 7)
    dialect = Dialect("max_tokens")
    assert dialect.after_refusal(dialect.body(plain), "temperature is wrong") is None


TALK = Request("m", (Message("system", "Be brief."), Message("user", "hi"), Message("assistant", "yes?")), 7)


@pytest.mark.parametrize(
    "words",
    [
        "param messages[0].role Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "System role not supported",
        "Developer instruction is not enabled for models/gemma-3-27b-it",
        "This model does not support system messages",
        "system prompts are not supported by this model",
        "Only user and assistant roles are supported!",
        "Conversation roles must alternate user/assistant/user/assistant/...",
    ],
)
def test_a_system_message_that_is_refused_stands_before_the_users(words):
    """What the system says is not lost on a model that takes no system message."""
    dialect = Dialect("max_tokens")
    after = dialect.after_refusal(dialect.body(TALK), words, status=500)
    assert after is not None
    assert after.body(TALK)["messages"] == [
        {"role": "user", "content": "Be brief.\n\nhi"},
        {"role": "assistant", "content": "yes?"},
    ]
    assert dialect.after_refusal(dialect.body(REQUEST), words.replace("param", ""), status=500) is None


def test_a_system_message_alone_is_asked_as_the_user():
    """A request is never left without a message."""
    alone = Request("m", (Message("system", "Go."),), 7)
    assert Dialect("max_tokens", system=False).body(alone)["messages"] == [{"role": "user", "content": "Go."}]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "param stream Your organization must be verified to stream this model."),
        (400, "This model does not support streaming"),
        (403, "streaming is not allowed for this account"),
        (422, "param None stream: Input should be false"),
        (501, "Stream mode is not supported"),
    ],
)
def test_a_stream_that_is_refused_is_asked_for_in_one_piece(status, words):
    """A model that must not stream answers all the same."""
    dialect = Dialect("max_tokens")
    after = dialect.after_refusal(dialect.body(REQUEST), words, status=status)
    assert after is not None
    body = after.body(REQUEST)
    assert body["stream"] is False
    assert "stream_options" not in body
    assert after.after_refusal(body, words, status=status) is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "the upstream did not complete the stream"),
        (503, "stream not available"),
        (403, "temperature is wrong"),
        (403, "the system is not in order"),
    ],
)
def test_a_failure_teaches_nothing(status, words):
    """What may work later, or is not about the request's form, changes nothing for the next one."""
    dialect = Dialect("max_tokens")
    assert dialect.after_refusal(dialect.body(REQUEST), words, status=status) is None


@pytest.mark.parametrize(
    "words",
    [
        "param response_format This response_format type is unavailable now",
        "This model does not support response format `json_schema`",
        "Invalid schema for response_format 'answer': 'additionalProperties' is required",
        "failed to parse grammar",
        "json_validate_failed Failed to generate JSON",
    ],
)
def test_json_that_a_provider_does_not_know_is_asked_for_less_strictly_then_by_words_alone(words: str):
    """A refusal of `response_format` leads from the schema to any object, and then to none; the rest stays."""
    asked = replace(REQUEST, answer_format={"schema": {"type": "object"}})
    dialect, kinds = Dialect("max_tokens"), []
    while "response_format" in (body := dialect.body(asked)):
        kinds.append(body["response_format"]["type"])
        after = dialect.after_refusal(body, words)
        assert after is not None
        dialect = after
    assert kinds == ["json_schema", "json_object"]
    assert dialect.body(asked) == Dialect("max_tokens").body(REQUEST)
    assert dialect.after_refusal(body, words) is None


def test_no_object_is_asked_for_where_the_schema_has_another_root():
    """Where the answer is to be a list, `json_object` would make it wrong; without a schema it is what there is."""
    dialect = replace(Dialect("max_tokens"), without=frozenset({"json_schema"}))
    assert "response_format" not in dialect.body(replace(REQUEST, answer_format={"schema": {"type": "array"}}))
    body = Dialect("max_tokens").body(replace(REQUEST, answer_format={"schema": None}))
    assert body["response_format"] == {"type": "json_object"}
