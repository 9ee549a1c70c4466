"""contract/faults.py: what is wrong, in words for a person."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from rlmwatch.contract.faults import in_words


class Sample(BaseModel):
    number: Annotated[int, Field(gt=0, le=10)] = 1
    share: Annotated[float, Field(ge=0)] = 0.5
    flag: bool = True
    text: Annotated[str, Field(min_length=1)] = "x"
    choice: Literal["a", "b"] = "a"
    table: dict[str, int] = {}
    items: list[str] = []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"number": "abc"}, "abc was given, expected a whole number"),
        ({"number": -3}, "-3 was given, expected a number above 0"),
        ({"number": 11}, "11 was given, expected at most 10"),
        ({"number": 1.5}, "1.5 was given, expected a whole number"),
        ({"share": "much"}, "much was given, expected a number"),
        ({"share": -1}, "-1 was given, expected 0 or more"),
        ({"flag": "maybe"}, "maybe was given, expected true or false"),
        ({"text": 5}, "5 was given, expected text"),
        ({"text": ""}, "must not be empty"),
        ({"choice": "c"}, "c was given, expected 'a' or 'b'"),
        ({"table": [1]}, "expected a table of keys and values"),
        ({"items": "x" * 100}, f"{'x' * 40} … was given, expected a list"),
    ],
)
def test_a_wrong_value_is_told_without_the_validators_words(values: dict[str, object], words: str):
    """What was given and what is expected, in plain words; a long value is cut."""
    with pytest.raises(ValidationError) as wrong:
        Sample(**values)
    assert in_words(wrong.value.errors()[0]) == words
