"""What a host function takes."""

import pytest

from rlmwatch.sandbox.base import CellError, HostFunction, Parameter


async def nothing():
    """Do nothing."""


FUNCTION = HostFunction(
    "f",
    nothing,
    (
        Parameter("text"),
        Parameter("many", "strings", None),
        Parameter("n", "int", 3),
        Parameter("x", "float", 0.5),
        Parameter("flag", "bool", default=False),
        Parameter("any", "json", None),
    ),
)


def test_defaults_fill_what_the_cell_left_out():
    """The host calls with every parameter."""
    assert FUNCTION.checked({"text": "a"}) == {
        "text": "a",
        "many": None,
        "n": 3,
        "x": 0.5,
        "flag": False,
        "any": None,
    }


def test_arguments_of_the_declared_types_pass():
    """An int is good for a float; a parameter whose default is None takes None."""
    given = {"text": "a", "many": ["b"], "n": 1, "x": 2, "flag": True, "any": {"k": [1]}}
    assert FUNCTION.checked(given) == given


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"text": 1},
        {"text": None},
        {"text": "a", "many": "b"},
        {"text": "a", "many": ["b", 1]},
        {"text": "a", "n": True},
        {"text": "a", "n": 1.0},
        {"text": "a", "x": "1"},
        {"text": "a", "flag": 1},
        {"text": "a", "n": None},
        {"text": "a", "other": 1},
    ],
)
def test_other_arguments_are_a_type_error_for_the_cell(arguments):
    """The host does not call with what it did not ask for; the cell is told."""
    with pytest.raises(CellError, match="f\\(\\)") as raised:
        FUNCTION.checked(arguments)
    assert raised.value.name == "TypeError"
