"""A provider's failures in our own terms."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.errors import ProviderError, ProviderRefused, ProviderUnavailable, UnknownModel, WrongKey
from rlmwatch.models.openai.error_bodies import error_in, status_of, words_of
from rlmwatch.models.openai.errors import WORDS_LIMIT, ProviderIdentity, by_status, wait_asked

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
KEY = "sk-secret-123"
CALLER = ProviderIdentity("openrouter", "http://127.0.0.1:1/v1", "OPENROUTER_API_KEY", KEY)


def said(status: int, payload: object = None, headers: dict[str, str] | None = None) -> ProviderError:
    payload = {"error": {"message": "the words"}} if payload is None else payload
    return by_status(CALLER, status, payload, headers=headers or {}, model="m", now=NOW)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ProviderRefused),
        (401, WrongKey),
        (402, ProviderRefused),
        (403, WrongKey),
        (408, ProviderUnavailable),
        (409, ProviderUnavailable),
        (413, ProviderRefused),
        (422, ProviderRefused),
        (425, ProviderUnavailable),
        (429, ProviderUnavailable),
        (500, ProviderUnavailable),
        (503, ProviderUnavailable),
        (529, ProviderUnavailable),
    ],
)
def test_each_status_has_its_class(status, kind):
    """A status says whether asking again can help, and the provider's words and status are kept."""
    error = said(status)
    assert type(error) is kind
    assert error.status == status
    assert "the words" in str(error)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ({"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}, UnknownModel),
        ({"error": {"message": "No endpoints found for x."}}, UnknownModel),
        ({"error": 'model "x" not found, try pulling it first'}, UnknownModel),
        ({"detail": "Not Found"}, UnknownModel),
        ({"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}, UnknownModel),
        ("<html><body>nginx</body></html>", UnknownModel),
        ({"error": {"message": "No such organization: org-1"}}, ProviderRefused),
    ],
)
def test_a_404_is_an_unknown_model_only_where_it_is_about_the_model_or_the_address(payload, kind):
    """A person is told to look at the model's name, or the address, only where that is the cause."""
    assert type(said(404, payload)) is kind


def test_an_unknown_model_is_named_with_the_address_that_was_asked():
    """The error names the model and where it was asked for, since either may be wrong."""
    error = said(404, {"error": {"message": "no such model"}})
    assert "'m'" in str(error)
    assert CALLER.base_url in str(error)


def test_a_wrong_key_names_the_variable():
    """The error says which variable to check."""
    assert "OPENROUTER_API_KEY" in str(said(401))


def test_the_key_is_taken_out_of_a_providers_words():
    """A provider that repeats the key does not get it into our error files."""
    error = said(401, {"error": {"message": f"Incorrect API key provided: {KEY}."}})
    assert KEY not in str(error)
    assert "Incorrect API key provided: [key]" in str(error)


def test_long_words_are_cut_after_the_key_is_taken_out():
    """A page of text becomes a paragraph, and a key across the cut is not shown in part."""
    error = said(500, "x" * (WORDS_LIMIT - 20) + KEY)
    assert len(str(error)) < WORDS_LIMIT + 50
    assert "sk-sec" not in str(error)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"error": {"message": "a"}}, "a"),
        ({"error": "b"}, "b"),
        ({"message": "c"}, "c"),
        ({"detail": [{"msg": "d"}]}, '[{"msg": "d"}]'),
        (
            {"error": {"message": "Provider returned error", "metadata": {"raw": "too hot"}}},
            "Provider returned error (too hot)",
        ),
        ("<html><style>p{}</style><p>e</p></html>", "e"),
        (None, "null"),
        ([1], "[1]"),
        ({"error": {"code": 7}}, '{"code": 7}'),
        ({"error": [1]}, '{"error": [1]}'),
        ([{"error": {"message": "f"}}], "f"),
        ({"errors": [{"message": "g"}]}, "g"),
        ({"detail": '{"error": {"message": "h"}}'}, "h"),
        ({"error": {"message": "no", "metadata": {"reasons": ["i", "j"]}}}, "no (i, j)"),
        (
            {"error": {"message": "no", "metadata": {"raw": '{"error": {"message": "k"}}'}}},
            "no (k)",
        ),
        ({"error": {"message": "a <tag> and 1 < 2"}}, "a <tag> and 1 < 2"),
        ({"base_resp": {"status_code": 1008, "status_msg": "l"}}, "l"),
    ],
)
def test_the_words_are_found_in_every_known_shape(payload, words):
    """Whatever shape a provider gives its errors, a person reads the sentence in it."""
    assert words_of(payload).strip() == words


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429}, 429),
        ({"code": "502"}, 502),
        ({"code": None, "type": "server_error"}, 500),
        ({"code": "model_not_found"}, 404),
        ({"type": "invalid_request_error", "code": "weird"}, 400),
        ({"code": 200}, None),
        ({"code": True}, None),
        ({"code": None, "status": "RESOURCE_EXHAUSTED"}, 429),
        ({"error": {"type": "overloaded_error"}}, 503),
        ({"object": "error", "type": "BadRequestError"}, 400),
        ({}, None),
        ("overloaded", None),
    ],
)
def test_an_error_inside_a_stream_says_its_status_by_code_or_type(error, status):
    """Errors that come after status 200 are classed like the others."""
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Tue, 24 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"retry-after": "Tue, 24 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "9999999"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 360.0),
        ({"x-ratelimit-reset-tokens": "20ms", "x-ratelimit-remaining-tokens": "0"}, 0.02),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s", "x-ratelimit-remaining-tokens": "0"}, 3723.5),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "12"}, None),
        ({"x-ratelimit-reset": str(int((NOW.timestamp() + 5) * 1000)), "x-ratelimit-remaining": "0"}, 5.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp() + 5)), "x-ratelimit-remaining": "0"}, 5.0),
        ({"x-ratelimit-reset": "12", "x-ratelimit-remaining": "0"}, 12.0),
        ({"x-ratelimit-reset": "later", "x-ratelimit-remaining": "0"}, None),
    ],
)
def test_the_wait_that_a_provider_asks_for_is_understood(headers, seconds):
    """A rate limit says in one of four ways when to come back; what makes no sense is not believed."""
    assert wait_asked(headers, NOW) == pytest.approx(seconds)


def test_a_rate_limit_carries_its_wait_and_is_not_billed():
    """A 429 did no work, and says when to try again."""
    error = said(429, headers={"retry-after": "3"})
    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after_s == 3
    assert not error.may_be_billed


@pytest.mark.parametrize(("status", "billed"), [(408, True), (500, False), (503, False), (504, True)])
def test_only_a_gateway_that_gave_up_waiting_may_be_billed(status, billed):
    """A reservation is kept as spent only where the model behind may have finished."""
    error = said(status)
    assert isinstance(error, ProviderUnavailable)
    assert error.may_be_billed is billed


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{"delta": {"content": "hi"}}], "error": None},
        {"choices": [], "usage": {}},
        {"usage": {"prompt_tokens": 1}, "message": "done", "code": "ok"},
        {"type": "ping", "message": "still here"},
        {"type": "message_start", "message": {"role": "assistant"}},
        {"base_resp": {"status_code": 0, "status_msg": ""}, "choices": []},
        {},
        [],
        None,
        "error",
        7,
    ],
)
def test_what_is_no_error_is_taken_for_none(chunk):
    """Only what says that it failed is an error."""
    assert error_in(chunk) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "errors", "message", "detail", "code", "metadata", "raw", "choices", "delta", "type"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=14,
)


@given(st.sampled_from([None, 400, 401, 403, 404, 405, 429, 500, 503]), json_values)
def test_a_body_of_any_shape_is_survived(status, payload):
    """Bodies come from strangers: each becomes an error with words, and none raises."""
    error = by_status(CALLER, status, payload, headers={}, model="m", now=NOW)
    assert str(error).startswith("openrouter: ")
    error_in(payload)


@pytest.mark.parametrize("depth", [50, 20_000])
def test_a_deep_body_is_survived(depth):
    """A body that is nested without end is no harm."""
    assert isinstance(said(400, "[" * depth), ProviderRefused)
    assert isinstance(said(400, {"error": {"message": "[" * depth + "]" * depth}}), ProviderRefused)
