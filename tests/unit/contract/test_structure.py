"""Structure is counted before it is parsed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.contract.documents import json_object
from rlmwatch.contract.structure import _PIECE_BYTES, MAX_DEPTH, MAX_MARKS, excess
from rlmwatch.errors import InputError

_JSON = st.recursive(
    st.none() | st.text(alphabet='a"\\[]{},:é∀') | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='a"\\[{'), inner, max_size=4),
    max_leaves=20,
)


def marks(value: object) -> int:
    """Count the brackets, commas and colons that *value* has as JSON."""
    if isinstance(value, dict):
        return 2 + max(0, len(value) - 1) + sum(1 + marks(inner) for inner in value.values())
    if isinstance(value, list):
        return 2 + max(0, len(value) - 1) + sum(map(marks, value))
    return 0


@given(value=_JSON)
def test_what_stands_in_strings_does_not_count(value: object):
    """The number of brackets, commas and colons is that of the values, whatever the texts hold."""
    body = json.dumps(value, ensure_ascii=False).encode()
    count = marks(value)
    assert excess(body, max_marks=count) is None
    if count:
        assert "items" in (excess(body, max_marks=count - 1) or "")


@pytest.mark.parametrize("before", range(-3, 4))
def test_a_string_over_the_edge_of_a_piece_is_one_string(before: int):
    """The text is looked at in pieces; where they are cut makes no difference."""
    text = "x" * (_PIECE_BYTES - 2 + before) + '",[' + "y" * _PIECE_BYTES
    body = json.dumps([text, {}, text]).encode()
    assert excess(body, max_marks=6) is None
    assert excess(body, max_marks=5) == "has more than 5 items"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[" + b"{}," * MAX_MARKS + b"{}]", "items"),
        (b"[" * (MAX_DEPTH + 1), "deep"),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (b'["' + b"[" * 2 * MAX_MARKS + b'"]', None),
        (b'"' * 3 * MAX_MARKS, None),
    ],
)
def test_what_is_refused(body: bytes, why: str | None):
    """Too many values and too many levels are refused; a long text is not, nor is what is not JSON judged."""
    found = excess(body)
    assert (found is None) if why is None else (found is not None and why in found)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_no_encoding_hides_structure(encoding: str):
    """In UTF-16 the sign ∀ has the byte of a quote; the brackets after it count all the same."""
    with pytest.raises(InputError, match="items"):
        json_object(('{"∀": [' + "{}," * MAX_MARKS + "{}]}").encode(encoding))
