"""What becomes of everything that real servers say in an answer."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from typing import Any

import pytest
from behaviour.openai_calls import KEY, complete, failure
from servers.openai_server import Fault, Frames, OpenAIServer, Reply

from rlmwatch.errors import (
    ContextTooLong,
    ProviderRefused,
    ProviderUnavailable,
    ProviderUnreachable,
    UnknownModel,
    WrongKey,
)
from rlmwatch.models.base import RESTART, Message, Request
from rlmwatch.models.base import Reply as ModelReply
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.model import OpenAIModel
from rlmwatch.runs.model import Usage

DRAFT = "Perhaps 42?\n```python\nanswer(42)\n```\nNo.\n"
TAGS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("", "</think>"),
]


@pytest.mark.parametrize("chars", [1, 3, 1000])
@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_thoughts_in_the_text_are_no_text(opening, closing, chars):
    """What a model thinks in its text is neither in the answer nor in what is shown of it, however it is sent."""
    with OpenAIServer([Reply(f"{opening}\n{DRAFT}{closing}\n\nIt is 50.", chars=chars)]) as server:
        pieces: list[str] = []
        reply = complete(server, on_text=lambda piece: pieces.clear() if piece is RESTART else pieces.append(piece))
        assert reply.text == "".join(pieces) == "It is 50."
        assert reply.usage.output_tokens > len("It is 50.")


def test_thoughts_that_reach_the_limit_are_an_empty_answer():
    """Where the limit came before the end of the thoughts there is not text."""
    with OpenAIServer([Reply(f"<think>{DRAFT * 9}", chars=5)]) as server:
        reply = complete(server)
        assert (reply.text, reply.finish_reason) == ("", "length")


@pytest.mark.parametrize(
    "answer",
    [
        Reply("all of it", ends=False),
        Reply("all of it", ends=False, stream=False),
        Reply("all of it", ends=False, done=False, repeats="message"),
        Reply("all of it", ends=False, finish_reason="", noise=b": hm\n\n"),
    ],
)
def test_a_whole_answer_needs_no_word_for_its_end(answer):
    """An answer is whole, and paid for once, where the stream says that it is done or a whole message came."""
    with OpenAIServer([answer]) as server:
        reply = complete(server)
        assert (reply.text, reply.finish_reason) == ("all of it", "stop")
        assert not reply.estimated
        assert server.count == 1


NOISE = (
    b": OPENROUTER PROCESSING\n\n",
    b"data:\n\n",
    b"data: \r\n\r\n",
    b"data\n\n",
    b"event: ping\ndata: pong\n\n",
    b'event: status\ndata: {"phase": "thinking"}\n\n',
    b"id: 7\nretry: 100\nunknown: field\n\n",
    b"data: {}\n\n",
    b"\n\n\r\r",
)


@pytest.mark.parametrize("noise", NOISE)
def test_what_says_nothing_between_the_chunks_changes_nothing(noise):
    """Comments, empty frames, unknown fields and events are no part of an answer and no failure."""
    with OpenAIServer([Reply("one two three", noise=noise)]) as server:
        reply = complete(server)
        assert reply.text == "one two three"
        assert not reply.notes


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("model_context_window_exceeded", "length"),
        ("content_filter", "filter"),
        ("SAFETY", "filter"),
        ("RECITATION", "filter"),
        ("PROHIBITED_CONTENT", "filter"),
        ("refusal", "filter"),
        ("sensitive", "filter"),
        ("guardrail_intervened", "filter"),
        ("insufficient_system_resource", "interrupted"),
        ("abort", "interrupted"),
        ("output_filter_triggered", "filter"),
        ("max_new_tokens_reached", "length"),
    ],
)
def test_the_end_of_an_answer_is_understood_in_every_providers_words(word, reason):
    """Whether an answer is whole is one of four words, and the provider's own is kept beside it."""
    with OpenAIServer([Reply("half an ans", finish_reason=word)]) as server:
        reply = complete(server)
        assert reply.text == "half an ans"
        assert reply.finish_reason == reason
        assert (reply.provider_reason or reason) == word
        assert reply.cut is (reason != "stop")
        if reason in ("filter", "interrupted"):
            assert word in reply.notes[0]


def test_an_end_that_nobody_knows_is_told():
    """A word for the end that rlmwatch does not know is told to the person."""
    with OpenAIServer([Reply("hm", finish_reason="banana"), Reply("hm")]) as server:
        assert "banana" in complete(server).notes[0]
        assert complete(server).notes == ()


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "text/html; charset=utf-8", "x/y"])
def test_a_stream_under_another_name_is_a_stream(kind):
    """What an answer is shows in its body, and it is shown as it comes."""
    with OpenAIServer([Reply("one two three", kind=kind)]) as server:
        pieces: list[str] = []
        assert complete(server, on_text=pieces.append).text == "one two three"
        assert len(pieces) == 3


@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain", "application/json"])
def test_a_document_in_place_of_a_stream_is_an_answer(kind):
    """A server that does not stream although it was asked to has answered all the same."""
    with OpenAIServer([Reply("all at once", stream=False, kind=kind)]) as server:
        reply = complete(server)
        assert (reply.text, reply.finish_reason, reply.estimated) == ("all at once", "stop", False)


@pytest.mark.parametrize("repeats", ["message", "delta"])
def test_an_answer_that_is_sent_twice_stands_once(repeats):
    """A last chunk with the whole message again adds nothing."""
    with OpenAIServer([Reply("one two three four five six", repeats=repeats)]) as server:
        pieces: list[str] = []
        assert complete(server, on_text=pieces.append).text == "one two three four five six"
        assert "".join(pieces) == "one two three four five six"


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ({"error": {"message": "Input flagged", "code": 403, "metadata": {"reasons": ["violence"]}}}, ProviderRefused),
        ({"error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}, ProviderRefused),
        (
            {
                "error": {
                    "code": "unsupported_country_region_territory",
                    "message": "Country, region, or territory not supported",
                    "type": "request_forbidden",
                }
            },
            ProviderRefused,
        ),
        ({"error": {"message": "User location is not supported for the API use."}}, ProviderRefused),
        (
            {"error": {"message": "Project `p` does not have access to model `gpt-4o`", "code": "model_not_found"}},
            UnknownModel,
        ),
        ({"error": {"message": "Your API key does not have permission"}}, WrongKey),
        ({"error": {"message": "You are not a member of this organization"}}, WrongKey),
    ],
)
def test_a_403_is_about_the_key_only_where_it_says_so(payload, kind):
    """A question that was refused for its content or region fails in the provider's words; the key is not blamed."""
    with OpenAIServer([Fault.status(403, payload)]) as server:
        error = failure(server)
        assert type(error) is kind
        assert ("TEST_API_KEY" in str(error)) is (kind is WrongKey)


IN_STREAM = [
    ({"error": {"message": "it burns", "code": 400}}, ProviderRefused),
    ({"object": "error", "message": "it burns", "type": "BadRequestError", "code": 400}, ProviderRefused),
    ({"type": "error", "error": {"type": "invalid_request_error", "message": "it burns"}}, ProviderRefused),
    ([{"error": {"code": 400, "message": "it burns", "status": "INVALID_ARGUMENT"}}], ProviderRefused),
    (
        {"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "it burns", "code": 400}}]},
        ProviderRefused,
    ),
    ({"choices": [{"delta": {"error": {"message": "it burns", "code": 422}}}]}, ProviderRefused),
    ({"code": "InvalidParameter", "message": "it burns"}, ProviderRefused),
    ({"detail": "it burns", "status_code": 400}, ProviderRefused),
    ({"errors": [{"code": 400, "message": "it burns"}]}, ProviderRefused),
    (b'event: error\ndata: {"message": "it burns", "code": 400}\n\n', ProviderRefused),
    (b'error: {"code":400,"message":"it burns","type":"invalid_request_error"}\n\n', ProviderRefused),
    ({"base_resp": {"status_code": 1008, "status_msg": "it burns: insufficient balance"}}, ProviderRefused),
    ({"error": {"message": "it burns: maximum context length is 5 tokens"}}, ContextTooLong),
    ({"error": "it burns: model 'x' not found"}, UnknownModel),
    ({"error": "Unexpected endpoint or method. (POST /chat/completions) it burns"}, ProviderUnreachable),
    ({"error": {"message": "it burns", "code": 503}}, ProviderUnavailable),
    ({"error": {"message": "it burns"}}, ProviderUnavailable),
    (b"event: error\ndata: it burns\n\n", ProviderUnavailable),
    (b"data: it burns\n\n", ProviderUnavailable),
]


@pytest.mark.parametrize(("frame", "kind"), IN_STREAM)
def test_an_error_in_a_stream_is_heard_in_every_shape(frame, kind):
    """An error after status 200 is told in the provider's words, and what cannot heal is not tried again."""
    with OpenAIServer([Frames((frame, "[DONE]"))]) as server:
        error = failure(server)
        assert type(error) is kind
        assert "it burns" in str(error)


def test_a_refusal_in_the_middle_is_final_and_booked():
    """A provider that withdraws its answer for good is not asked again, and what came of it is paid for."""
    flagged = {"error": {"message": "flagged by moderation", "code": 403}}
    chunk = {"choices": [{"delta": {"content": "Half an answer so far"}}]}
    with OpenAIServer([Frames((chunk, flagged))]) as server:
        error = failure(server)
        assert type(error) is ProviderRefused
        assert error.usage is not None
        assert error.usage.output_tokens == 6


REPORT = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "cost": 0.007}


@pytest.mark.parametrize(
    "frames",
    [
        ({"choices": [{"delta": {"content": "half"}}], "usage": REPORT},),
        ({"choices": [], "usage": REPORT}, {"error": {"message": "upstream died", "code": 502}}),
        ({"choices": [{"delta": {"content": "half"}, "usage": REPORT}]}, {"error": "rate limited"}),
        ({"choices": [{"delta": {}, "finish_reason": "error"}], "usage": REPORT}, "[DONE]"),
    ],
)
def test_usage_that_was_reported_is_with_the_error(frames):
    """A call whose answer is thrown away is billed all the same: its error carries what was reported."""
    with OpenAIServer([Frames(frames)]) as server:
        error = failure(server)
        assert isinstance(error, ProviderUnavailable)
        assert error.usage == Usage(11, 7, 0.007, 1)


@pytest.mark.parametrize(
    ("usage", "tokens", "estimated"),
    [
        ({"prompt_tokens": 9, "total_tokens": 12}, (9, 3), False),
        ({"prompt_tokens": 9}, (9, 2), True),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (2, 2), True),
        ({"prompt_tokens": 10**400, "completion_tokens": 10**400}, (2, 2), True),
        ({"prompt_tokens": 9, "completion_tokens": 3, "cost": 10**400}, (9, 3), False),
    ],
)
def test_usage_without_sense_is_completed_and_says_so(usage, tokens, estimated):
    """An answer is never booked as nothing: the total or our estimate fills what the report leaves out."""
    with OpenAIServer([Reply("12345678", usage=usage)]) as server:
        reply = complete(server)
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == tokens
        assert reply.estimated is estimated


@pytest.mark.parametrize(
    "details",
    [
        {"completion_tokens_details": {"reasoning_tokens": 30}},
        {"output_tokens_details": {"reasoning_tokens": 30}},
        {"reasoning_tokens": 30},
    ],
)
def test_thoughts_are_counted_as_the_provider_reports_them(details):
    """The reply says how many of its output tokens were thoughts, in whichever place the provider reports them."""
    usage = {"prompt_tokens": 9, "completion_tokens": 40, **details}
    with OpenAIServer([Reply("12345678", usage=usage)]) as server:
        assert complete(server).reasoning_tokens == 30


@pytest.mark.parametrize("number", [None, "many", -3, True, 10**400])
def test_thoughts_without_a_sensible_count_are_none(number):
    """A report without sense counts as no thoughts; more than the output are as many as that."""
    usage = {"prompt_tokens": 9, "completion_tokens": 40, "completion_tokens_details": {"reasoning_tokens": number}}
    with OpenAIServer([Reply("12345678", usage=usage)]) as server:
        assert complete(server).reasoning_tokens == 0


@pytest.mark.parametrize(
    ("status", "payload", "kind"),
    [
        (
            429,
            {
                "error": {
                    "message": "You exceeded your current quota, please check your plan and billing details.",
                    "type": "insufficient_quota",
                    "code": "insufficient_quota",
                }
            },
            ProviderRefused,
        ),
        (402, {"error": {"message": "Insufficient Balance"}}, ProviderRefused),
        (400, {"error": {"message": "Your credit balance is too low to access the API."}}, ProviderRefused),
        (
            429,
            {"error": {"message": "Quota exceeded, limit: 15. Please retry in 34.07s."}},
            ProviderUnavailable,
        ),
        (404, "<html><head><title>404</title></head><body>nginx</body></html>", UnknownModel),
        (405, {"detail": "Method Not Allowed"}, ProviderUnreachable),
        (503, {"error": {"message": "No available channel for model x under group default"}}, UnknownModel),
        (503, {"error": {"message": "The model is not available right now"}}, ProviderUnavailable),
        (
            429,
            {"error": {"message": "Rate limit reached on tokens per min (TPM): Limit 10, Used 9. Try again in 2s"}},
            ProviderUnavailable,
        ),
    ],
)
def test_what_waiting_cannot_heal_is_not_tried_again(status, payload, kind):
    """A refusal that only looks temporary ends at once, and one that is stays so."""
    with OpenAIServer([Fault.status(status, payload)]) as server:
        assert type(failure(server)) is kind


def test_a_wait_that_stands_in_the_words_is_heard():
    """A provider that says in its words when to come back is not asked before."""
    payload = [{"error": {"code": 429, "message": "Please retry in 34.07s.", "status": "RESOURCE_EXHAUSTED"}}]
    with OpenAIServer([Fault.status(429, payload)]) as server:
        error = failure(server)
        assert isinstance(error, ProviderUnavailable)
        assert error.retry_after_s == pytest.approx(34.07)
        assert "Please retry" in str(error)
        assert "[{" not in str(error)


SYSTEM = Request("test-model", (Message("system", "Be brief."), Message("user", "hello")), 50, temperature=0.5)


def needs(wrong: Callable[[dict[str, Any]], bool], status: int, error: Any) -> Callable[[dict[str, Any]], Fault | str]:
    return lambda body: Fault.status(status, {"error": error}) if wrong(body) else "fine"


@pytest.mark.parametrize(
    ("status", "wrong", "error"),
    [
        (
            400,
            lambda body: body["stream"],
            {
                "message": "Your organization must be verified to stream this model.",
                "param": "stream",
                "code": "unsupported_value",
            },
        ),
        (403, lambda body: body["stream"], {"message": "Streaming is not supported for this model"}),
        (400, lambda body: body["stream"], {"message": "This model does not support streaming."}),
        (
            400,
            lambda body: body["messages"][0]["role"] == "system",
            {
                "message": "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
                "param": "messages[0].role",
                "code": "unsupported_value",
            },
        ),
        (500, lambda body: body["messages"][0]["role"] == "system", {"message": "System role not supported"}),
        (
            400,
            lambda body: body["messages"][0]["role"] == "system",
            {"message": "Developer instruction is not enabled for models/gemma-3-27b-it"},
        ),
        (
            400,
            lambda body: "max_tokens" in body,
            {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."},
        ),
        (400, lambda body: "temperature" in body, {"message": "Unsupported value: 'temperature' does not support 0.5"}),
    ],
)
def test_what_a_model_does_not_take_is_learned_once(status, wrong, error):
    """A request that a model refuses for its form is made another way, which is remembered for the next ones."""

    async def thrice(server: OpenAIServer) -> list[ModelReply]:
        model = OpenAIModel(Endpoint("test", server.url))
        try:
            return [await model.complete(SYSTEM) for _ in range(3)]
        finally:
            await model.aclose()

    with OpenAIServer(needs(wrong, status, error)) as server:
        assert [reply.text for reply in asyncio.run(thrice(server))] == ["fine"] * 3
        assert server.count == 4
        assert "Be brief." in str(server.calls[-1].body["messages"])
        assert "hello" in server.calls[-1].body["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("status", "payload", "words"),
    [
        (
            400,
            [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}],
            "API key not valid.",
        ),
        (
            502,
            "<html><head><style>p{}</style></head><body><h1>Bad&nbsp;Gateway</h1></body></html>",
            "Bad Gateway",
        ),
        (400, {"errors": [{"message": "no", "code": 7}], "success": False}, "no"),
        (400, {"detail": '{"error": {"message": "no"}}'}, "no"),
    ],
)
def test_an_error_says_its_words_and_not_its_shape(status, payload, words):
    """A person reads the sentence in an error's body, whatever stands around it."""
    with OpenAIServer([Fault.status(status, payload)]) as server:
        assert str(failure(server)).split(": ", 2)[2] == words


UNKNOWN = [
    (400, {"error": {"message": "/chat/completions: Invalid model name passed in model=gpt-x. Call `/v1/models`"}}),
    (404, {"error": "model 'gpt-x' not found"}),
    (404, {"error": {"message": 'model "gpt-x" not found, try pulling it first', "type": "api_error"}}),
    (404, {"object": "error", "message": "The model `gpt-x` does not exist.", "type": "NotFoundError", "code": 404}),
    (400, {"error": {"message": "gpt-x is not a valid model ID", "code": 400}}),
    (
        404,
        {
            "error": {
                "message": "The model `gpt-x` does not exist or you do not have access to it.",
                "code": "model_not_found",
            }
        },
    ),
    (
        400,
        {
            "error": {
                "message": "The model `gpt-x` has been decommissioned and is no longer supported.",
                "code": "model_decommissioned",
            }
        },
    ),
    (400, {"object": "error", "message": "Invalid model: gpt-x", "type": "invalid_model", "code": "1500"}),
    (400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error"}}),
    (
        404,
        [
            {
                "error": {
                    "code": 404,
                    "message": "models/gpt-x is not found for API version v1beta",
                    "status": "NOT_FOUND",
                }
            }
        ],
    ),
    (404, {"error": {"message": "The API deployment for this resource does not exist.", "code": "DeploymentNotFound"}}),
    (400, {"error": {"message": "Unable to access model gpt-x. Please visit the model page"}}),
]


@pytest.mark.parametrize(("status", "payload"), UNKNOWN)
def test_an_unknown_model_is_one_in_every_servers_words(status, payload):
    """A model that a server does not have is held until a person has named another, whatever the status."""
    with OpenAIServer([Fault.status(status, payload)]) as server:
        assert type(failure(server)) is UnknownModel


TOO_LONG = """
400 8192 9000 This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.
400 4096 4118 This model's maximum context length is 4096 tokens. However, you requested 4118 tokens (3118 in
400 4096 5000 This endpoint's maximum context length is 4096 tokens. However, you requested about 5000 tokens.
400 8192 9412 request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it
400 200000 210000 prompt is too long: 210000 tokens > 200000 maximum
400 1048576 1200000 The input token count (1,200,000) exceeds the maximum number of tokens allowed (1,048,576).
400 4096 15857 Trying to keep the first 15857 tokens when context the overflows. However, it is loaded with context \
length of only 4096 tokens, which is not enough.
422 8193 9000 Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens
400 8192 12345 The input (12345 tokens) is longer than the model's context length (8192 tokens).
400 32768 40000 Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length
400 131072 140000 This model's maximum prompt length is 131072 but the request contains 140000 tokens.
413 6000 7042 Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7042
400 8192 9000 Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192
400 8192 9000 Your request exceeded model token limit: 8192 (requested: 9000)
500 - - the request exceeds the available context size. try increasing the context size or enable context shift
400 - - Input is too long for requested model.
""".strip().split("\n")


@pytest.mark.parametrize("line", TOO_LONG)
def test_a_request_that_is_too_long_is_one_in_every_servers_words(line):
    """A request beyond the model's window has an error of its own, with the numbers that the server names."""
    status, limit, asked, words = line.split(" ", 3)
    with OpenAIServer([Fault.status(int(status), {"error": {"message": words}})]) as server:
        error = failure(server)
        assert isinstance(error, ContextTooLong)
        assert [error.limit_tokens, error.asked_tokens] == [None if n == "-" else int(n) for n in (limit, asked)]
        assert server.count == 1


def test_the_numbers_of_llama_cpp_stand_in_fields():
    """llama.cpp names its window and the request's length beside its words."""
    error = {
        "code": 400,
        "type": "exceed_context_size_error",
        "message": "too much",
        "n_prompt_tokens": 90,
        "n_ctx": 64,
    }
    with OpenAIServer([Fault.status(400, {"error": error})]) as server:
        caught = failure(server)
        assert isinstance(caught, ContextTooLong)
        assert (caught.limit_tokens, caught.asked_tokens) == (64, 90)


ENGLISH = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 1350
CHINESE = "今天天气很好我们去公园散步吧" * 2000


@pytest.mark.parametrize(
    ("text", "read", "told"),
    [
        (ENGLISH, 4096, True),
        (ENGLISH, 27_000, False),
        (ENGLISH, 22_000, False),
        (CHINESE, 4096, True),
        (CHINESE, 14_000, False),
        ("    " * 9000 + "x", 4096, False),
        ("=" * 40_000, 4096, False),
        (ENGLISH, 12, False),
        ("short", 600, False),
    ],
)
def test_a_prompt_that_the_server_cut_is_told(text, read, told):
    """A server that read only part of what was sent says so by its count, and the person learns what to set."""
    usage = {"prompt_tokens": read, "completion_tokens": 1, "total_tokens": read + 1}
    request = Request("test-model", (Message("user", text),), 50)
    with OpenAIServer([Reply("ok", usage=usage)]) as server:
        notes = complete(server, request).notes
        assert bool(notes) is told
        if told:
            assert f"{read:,}" in notes[0]
            assert "num_ctx" in notes[0]
            assert "-c" in notes[0]


@pytest.mark.parametrize("text", [" \n\t ", "\u200b\ufeff\u2060", "\u3164"])
def test_an_answer_without_anything_to_see_is_empty(text):
    """White space and characters without width are no answer."""
    with OpenAIServer([Reply(text)]) as server:
        assert complete(server).text == ""


KEY_FORMS = {
    "upper case": KEY.upper(),
    "URL-encoded": "".join(f"%{ord(letter):02X}" for letter in KEY),
    "base64": base64.b64encode(KEY.encode()).decode().rstrip("="),
    "base64 of a login": base64.b64encode(f"user:{KEY}".encode()).decode().rstrip("="),
    "line break": f"{KEY[:9]}\n{KEY[9:]}",
    "zero-width": "\u200b".join(KEY),
    "prefix": KEY[:18],
    "hexadecimal": KEY.encode().hex(),
}


@pytest.mark.parametrize("form", KEY_FORMS)
def test_a_key_is_taken_out_in_every_form(form):
    """A provider that repeats the key in another form does not get it into a file or a log."""
    with OpenAIServer([Fault.status(400, {"error": {"message": f"bad key <<{KEY_FORMS[form]}>>"}})]) as server:
        text = str(failure(server))
        assert "[key]" in text
        shown = re.search("<<(.*)>>", text)
        assert shown is not None
        assert len(shown[1].replace("[key]", "")) <= len("dXNlcjp")
