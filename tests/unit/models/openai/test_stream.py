"""One answer, put together from the chunks of a stream."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.models.base import Message
from rlmwatch.models.openai.stream import Answer, Events, estimate
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


def delta(content: object, **more: object) -> dict[str, object]:
    return {"choices": [{"delta": {"content": content, **more}}]}


def test_text_is_joined_in_order():
    """The text is what came, in the order it came, and each new piece is handed out."""
    answer = Answer()
    assert [answer.take(delta("Hel")), answer.take(delta("lo"))] == ["Hel", "lo"]
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
    assert isinstance(answer.take(chunk), str)
    tokens, cost = answer.tokens(), answer.reported_cost()
    assert tokens is None or (tokens.input >= 0 and tokens.output >= 0)
    assert cost is None or cost >= 0


def used(**usage: object) -> Answer:
    answer = Answer()
    answer.take({"choices": [], "usage": usage})
    return answer


def test_tokens_are_the_providers():
    """Usage is what the provider counted, with what came from its cache."""
    answer = used(prompt_tokens=10, completion_tokens=3, prompt_tokens_details={"cached_tokens": 4})
    assert answer.tokens() == Tokens(10, 3, cache_read=4)


def test_reasoning_that_stands_in_the_total_only_is_counted():
    """Output includes reasoning, also with providers that count it only in the total."""
    tokens = used(prompt_tokens=10, completion_tokens=3, total_tokens=113).tokens()
    assert tokens is not None
    assert tokens.output == 103


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 1}, {"prompt_tokens": "1", "completion_tokens": -1}])
def test_a_report_that_makes_no_sense_is_no_report(usage):
    """Without a sound report the tokens are unknown, not zero."""
    assert used(**usage).tokens() is None


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.25}, 0.25),
        ({"cost": 0}, 0.0),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, 0.21),
        ({"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.2}}, 0.01),
        ({"cost": float("nan")}, None),
        ({"cost": -1}, None),
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
    assert estimate((Message("system", "abc"), Message("user", "de")), "x" * 9) == Tokens(2, 3)


EVENTS = (
    b': a comment\r\nevent: message\r\ndata: {"a": 1}\r\n\r\ndata:{"b":\ndata: 2}\n\n\n\n'
    b"id: 7\n\ndata: [DONE]\n\ndata: cut off"
)


@given(st.lists(st.integers(0, len(EVENTS)), max_size=8))
def test_events_are_the_same_wherever_the_bytes_are_cut(cuts):
    """A stream says the same however the network cuts it; comments, names and an event without its end say nothing."""
    places = [0, *sorted(cuts), len(EVENTS)]
    events = Events()
    found = [data for one, two in pairwise(places) for data in events.feed(EVENTS[one:two])]
    assert found == [b'{"a": 1}', b'{"b":\n2}', b"[DONE]"]
