"""Frames between host and worker."""

import json
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.sandbox.guest.frames import MAX_BYTES, MAX_DEPTH, MAX_STRUCTURE, BadFrame, Buffer, check, decode, encode

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)
_FRAMES = st.dictionaries(_TEXT, _JSON, max_size=4)


@given(frames=st.lists(_FRAMES, min_size=1, max_size=4), cuts=st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(frames, cuts):
    """A half frame waits for its rest, and no byte is lost or read twice."""
    data = b"".join(encode(frame) for frame in frames)
    buffer = Buffer()
    seen = []
    at = 0
    for cut in [*cuts, len(data)]:
        buffer.feed(data[at : at + cut])
        at += cut
        while (frame := buffer.next()) is not None:
            seen.append(frame)
    assert seen == frames


@given(_FRAMES)
def test_what_is_json_is_never_refused_for_what_its_strings_hold(frame):
    """Only structure outside strings counts."""
    assert decode(json.dumps(frame | {"t": '[{,:"\\' * 1000}).encode()) == frame | {"t": '[{,:"\\' * 1000}


@given(st.binary(max_size=200) | st.text('[]{}",:\\u0 1e', max_size=200).map(str.encode))
def test_any_bytes_are_a_frame_or_refused(data):
    """Nothing but BadFrame comes out of hostile bytes."""
    with suppress(BadFrame):
        assert isinstance(decode(data), dict)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a":[' + b"[]," * MAX_STRUCTURE + b"[]]}", "items"),
        (b'{"a":' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}", "deep"),
        (b'{"a":' + b"[" * 190_000, "deep"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":' + b"9" * 5_000 + b"}", "ValueError"),
        (b"[1]", "object"),
        (b'{"a":"\xff"}', "Unicode"),
        (b'"' + b'\\"' * 3_000_000, "JSON"),
        (b"x" * (MAX_BYTES + 1), "bytes"),
    ],
    ids=[
        "wide",
        "deep",
        "deep and open",
        "infinite",
        "nan",
        "constant",
        "long number",
        "list",
        "no utf-8",
        "open",
        "long",
    ],
)
def test_a_frame_that_costs_too_much_or_is_no_json_is_refused(body, why):
    """What would cost the host more than it is worth is refused before it is parsed."""
    tracemalloc.start()
    try:
        with pytest.raises(BadFrame) as refused:
            decode(body)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    cause = repr(refused.value) + repr(refused.value.__cause__)
    assert why in cause


def test_structure_hidden_behind_a_backslash_is_counted():
    """An escape outside a string is no JSON, and does not hide what comes before it."""
    with pytest.raises(BadFrame, match="items"):
        check(b"[" + b"[]," * MAX_STRUCTURE + rb"\"" + b"]")


@pytest.mark.parametrize("head", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", (MAX_BYTES + 1).to_bytes(4, "big")])
def test_a_length_that_is_none_is_refused_before_the_body(head):
    """The announced length alone is enough to refuse."""
    buffer = Buffer()
    buffer.feed(head)
    with pytest.raises(BadFrame):
        buffer.next()


def test_lone_surrogates_never_reach_the_host():
    """Text that could not be written to a file is replaced, from either side."""
    assert decode(b'{"a":"x\\ud800y","\\udfff":["\\ud83d\\ude00"]}') == {"a": "x\ufffdy", "\ufffd": ["\U0001f600"]}
    assert decode(encode({"a": "x\ud800"})[4:]) == {"a": "x?"}


def test_what_the_other_side_would_refuse_is_not_sent():
    """The sender finds out, not the receiver."""
    for value in ("x" * MAX_BYTES, [[]] * MAX_STRUCTURE, float("nan")):
        with pytest.raises(BadFrame):
            encode({"a": value})
    deep = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(BadFrame):
        encode({"a": deep})
    with pytest.raises(TypeError):
        encode({"a": {1, 2}})
