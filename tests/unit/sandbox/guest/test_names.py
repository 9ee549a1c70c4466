"""What a model is told of a session's names."""

import types
from collections import Counter, deque

import pytest

from rlmwatch.sandbox.guest.names import described, shortened


def line(value):
    return described({"v": value}, without={})[0][1:]


def test_a_long_text_is_told_by_its_edges():
    """The first and the last 500 characters, and the true length."""
    kind, length, head, tail = line("a" * 600 + "b" * 600)
    assert (kind, length, head, tail) == ("str", 1200, "a" * 500, "b" * 500)
    assert line("a" * 500 + "b")[2:] == ["a" * 500, "b"]
    assert line("short") == ["str", 5, "short", ""]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (7, ["int", None, "7", ""]),
        (None, ["NoneType", None, "None", ""]),
        ([1, "a", None], ["list", 3, "[1, 'a', None]", ""]),
        ({"a": [1, {2}]}, ["dict", 1, "{'a': [1, {2}]}", ""]),
        (list(range(99)), ["list", 99, "[0, 1, 2, 3, 4, 5, 6, 7, … 91 more]", ""]),
        (Counter("aab"), ["Counter", 2, "{'a': 2, 'b': 1}", ""]),
        (deque([1]), ["deque", 1, "[1]", ""]),
        (1 << 5000, ["int", None, "<int of 5,001 bits>", ""]),
        (types, ["module", None, "", ""]),
        (len, ["builtin_function_or_method", None, "<builtin_function_or_method>", ""]),
        (line, ["function", None, "", ""]),
        (Counter, ["type", None, "", ""]),
        (b"ab", ["bytes", 2, "b'ab'", ""]),
    ],
)
def test_plain_values_are_told_briefly(value, told):
    """Type, length and a short text."""
    assert line(value) == told


def test_methods_of_a_cells_own_classes_are_not_called():
    """Describing runs no code of the cell."""

    class Trap(list):
        def __repr__(self):
            raise AssertionError

        __len__ = __iter__ = __getattribute__ = __str__ = __repr__

    assert line(Trap()) == ["Trap", None, "<Trap>", ""]
    assert line([Trap()]) == ["list", 1, "[<Trap>]", ""]


def test_no_line_is_longer_than_its_edges():
    """Even a container of long texts stays short."""
    for value in (["x" * 400] * 8, {"k" * 400: "v" * 400}, [["y" * 900]] * 3):
        assert len(line(value)[2]) <= 500


def test_hidden_names_ours_and_the_oldest_are_left_out():
    """At most 200 names, the newest."""
    names = {f"n{n}": n for n in range(300)} | {"_hidden": 1, "ours": 2}
    told = [one[0] for one in described(names, without={"ours": 2})]
    assert told == [f"n{n}" for n in range(100, 300)]


def test_shortened_text_names_its_gap():
    """The head, the tail, and how much is between."""
    assert shortened("a" * 10 + "b" * 10, 10) == "aaaaa\n[10 characters left out]\nbbbbb"
    assert shortened("ab", 2) == "ab"
