"""One answer, put together from the chunks of a stream."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.models.base import Message
from rlmwatch.models.openai.stream import (
    DONE,
    Answer,
    Events,
    NotTheProtocol,
    estimate,
    value,
)
from rlmwatch.models.prices import Tokens

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "message", "content", "usage", "model", "finish_reason", "cost", "text"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


SENT = (Message("user", "x" * 100),)


def delta(content: object, **more: object) -> dict[str, object]:
    return {"choices": [{"delta": {"content": content, **more}}]}


def test_text_is_joined_in_order():
    """The text is what came, in the order it came, and each new piece is handed out."""
    answer = Answer()
    assert [answer.take(delta("Hel")), answer.take(delta("lo"))] == [["Hel"], ["lo"]]
    assert answer.text == "Hello"


def test_reasoning_is_not_part_of_the_text():
    """What a model thinks before it answers does not land in the answer."""
    answer = Answer()
    answer.take(delta(None, reasoning_content="hmm", reasoning="hmm"))
    answer.take(delta([{"type": "thinking", "text": "hmm"}, {"type": "text", "text": "yes"}]))
    assert answer.text == "yes"


def test_a_refusal_is_text():
    """A model that refuses in its own field is heard."""
    answer = Answer()
    answer.take(delta(None, refusal="I cannot."))
    assert answer.text == "I cannot."


@given(json_values)
def test_a_chunk_of_any_shape_is_survived(chunk):
    """Chunks come from strangers: none of them raises, and what is counted makes sense."""
    answer = Answer()
    assert all(isinstance(piece, str) for piece in [*answer.take(chunk), *answer.end()])
    (tokens, _), cost = answer.tokens(SENT), answer.reported_cost()
    assert tokens.input >= 0
    assert tokens.output >= 0
    assert cost is None or cost >= 0


def used(**usage: object) -> Answer:
    answer = Answer()
    answer.take({"choices": [], "usage": usage})
    return answer


def test_tokens_are_the_providers():
    """Usage is what the provider counted, with what came from its cache."""
    answer = used(prompt_tokens=10, completion_tokens=3, prompt_tokens_details={"cached_tokens": 4})
    assert answer.tokens(SENT) == (Tokens(10, 3, cache_read=4), False)


def test_reasoning_that_stands_in_the_total_only_is_counted():
    """Output includes reasoning, also with providers that count it only in the total."""
    assert used(prompt_tokens=10, completion_tokens=3, total_tokens=113).tokens(SENT) == (Tokens(10, 103), False)


@pytest.mark.parametrize(
    ("usage", "tokens", "estimated"),
    [
        ({}, Tokens(25, 3), True),
        ({"prompt_tokens": 9}, Tokens(9, 3), True),
        ({"prompt_tokens": "9", "completion_tokens": -1}, Tokens(25, 3), True),
        ({"prompt_tokens": True, "completion_tokens": 1.5}, Tokens(25, 3), True),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Tokens(25, 3), True),
        ({"prompt_tokens": 9, "completion_tokens": 0}, Tokens(9, 3), True),
        ({"prompt_tokens": 9, "total_tokens": 16}, Tokens(9, 7), False),
        ({"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 16}, Tokens(9, 7), False),
        ({"completion_tokens": 7, "total_tokens": 16}, Tokens(9, 7), False),
        ({"completion_tokens": 7}, Tokens(25, 7), True),
        ({"input_tokens": 9, "output_tokens": 7}, Tokens(9, 7), False),
        ({"prompt_tokens": 9, "completion_tokens": 10**400}, Tokens(9, 3), True),
        ({"prompt_tokens": 10**400, "completion_tokens": 7, "total_tokens": 10**401}, Tokens(25, 7), True),
    ],
)
def test_what_a_report_leaves_out_is_the_rest_of_its_total_or_our_estimate(usage, tokens, estimated):
    """Nobody is told that a real answer was free: what was not counted soundly is estimated, and said to be."""
    answer = used(**usage)
    answer.take(delta("x" * 9))
    assert answer.tokens(SENT) == (tokens, estimated)


def test_the_last_report_counts_unless_it_is_empty():
    """Usage may come in each chunk, and a last one of zeros does not undo it."""
    answer = used(prompt_tokens=9, completion_tokens=1)
    answer.take({"choices": [{"delta": {}, "usage": {"prompt_tokens": 9, "completion_tokens": 7}}]})
    answer.take({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}})
    assert answer.tokens(SENT) == (Tokens(9, 7), False)


@pytest.mark.parametrize(
    "last",
    [
        {"choices": [{"message": {"content": "Hello there, my friends."}, "finish_reason": "stop"}]},
        {"choices": [{"delta": {}, "message": {"content": "Hello there, my friends."}, "finish_reason": "stop"}]},
        {"choices": [{"delta": {"content": "Hello there, my friends."}, "finish_reason": "stop"}]},
    ],
)
def test_a_last_chunk_that_repeats_the_text_adds_nothing(last):
    """A server that sends the whole message again at the end does not double the answer."""
    answer = Answer()
    assert [*answer.take(delta("Hello there, ")), *answer.take(delta("my friends."))] == [
        "Hello there, ",
        "my friends.",
    ]
    assert answer.take(last) == []
    assert answer.text == "Hello there, my friends."


def test_a_whole_message_beside_each_delta_is_no_end():
    """Some servers send all the text so far with each piece: the answer has not ended with the first."""
    answer = Answer()
    for so_far, new in (("He", "He"), ("Hello", "llo")):
        answer.take({"choices": [{"delta": {"content": new}, "message": {"content": so_far}}]})
    assert answer.text == "Hello"
    assert not answer.ended


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u200d\ufeff", "\u2060 \u00ad", "\u3164\u2800"])
def test_a_text_without_anything_to_see_is_empty(text):
    """White space and characters without width are no answer."""
    answer = Answer()
    answer.take(delta(text))
    assert answer.text == ""


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.25}, 0.25),
        ({"cost": 0}, 0.0),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, 0.21),
        ({"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.2}}, 0.01),
        ({"cost": float("nan")}, None),
        ({"cost": -1}, None),
        ({"cost": 10**400}, None),
        ({"cost": 1e300}, None),
        ({"cost": True}, None),
        ({"cost": {"total": 1}}, None),
        ({}, None),
    ],
)
def test_the_cost_is_what_the_reply_reports(usage, cost):
    """The reported cost counts, with what a provider behind one's own key bills; nonsense does not."""
    assert used(**usage).reported_cost() == pytest.approx(cost)


def test_an_estimate_is_four_characters_a_token_rounded_up():
    """Where nobody counted, four characters are a token."""
    assert estimate((Message("system", "abc"), Message("user", "de")), 9) == Tokens(2, 3)


EVENTS = (
    b'\xef\xbb\xbf: a comment\r\nevent: message\r\ndata: {"a": 1}\r\n\r\ndata:{"b":\ndata: 2}\n\n\n\n'
    b"id: 7\nunknown: x\nretry: 5\n\ndata:\n\ndata: \n\ndata\n\n:\n\nevent: ping\ndata: pong\n\n"
    b'event: chunk\r\rdata: {"c": 3}\r\revent: error\ndata: {"message": "x"}\n\nerror: {"message": "y"}\n\n'
    b"event: error\ndata: plain\n\ndata: [DONE]\n\ndata: cut off"
)


@given(st.lists(st.integers(0, len(EVENTS)), max_size=8))
def test_events_are_the_same_wherever_the_bytes_are_cut(cuts):
    """
    A stream says the same however the network cuts it.

    Comments, unknown fields and events, empty data and an event without its end say nothing; an error of any kind does.
    """
    places = [0, *sorted(cuts), len(EVENTS)]
    events = Events()
    found = [data for one, two in pairwise(places) for data in events.feed(EVENTS[one:two])]
    assert [value(data) for data in found] == [
        {"a": 1},
        {"b": 2},
        {"c": 3},
        {"error": {"message": "x"}},
        {"error": {"message": "y"}},
        {"error": "plain"},
        DONE,
    ]
    assert events.end() == []


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b"data: [DONE]", [DONE]),
        (b'data: {"a": 1}\n', [{"a": 1}]),
        (b'data: {"a": ', []),
        (b'{"a":\n\n 1}\n', [{"a": 1}]),
        (b'\xef\xbb\xbf [{"a": 1}]', [[{"a": 1}]]),
        (b'{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        (b"error: it burns", [{"error": "it burns"}]),
        (b": nothing yet\n\n", []),
        (b"", []),
    ],
)
def test_a_body_that_is_no_stream_is_read_as_what_it_is(body, values):
    """What a body is shows in the body: an event without its end, a document, or JSON line by line."""
    events = Events()
    assert [value(data) for data in [*events.feed(body), *events.end()]] == values


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"Welcome", b"\xff\xfe{}", b"[" * 100_000, b"{'a': 1}"])
def test_a_body_that_is_nothing_of_the_kind_says_so_with_its_words(body):
    """A page, or garbage, is refused with its text, whatever it would do to a parser."""
    events = Events()
    assert events.feed(body) == []
    with pytest.raises(NotTheProtocol) as caught:
        events.end()
    assert caught.value.text == body.decode("utf-8", "replace")


def test_a_number_of_thousands_of_digits_stops_nothing():
    """An absurd number costs the number, and not the answer that it stands in."""
    read = value(b'{"n": %s, "text": "hi"}' % (b"9" * 6000))
    assert isinstance(read, dict)
    assert read["text"] == "hi"
