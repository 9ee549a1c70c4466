"""A value is held against a schema in a process that may be ended (json_schema/)."""

from __future__ import annotations

import asyncio

import pytest

from rlmwatch.errors import InputError
from rlmwatch.json_schema.checker import SchemaChecker, problem_of

PERSON = {"type": "object", "properties": {"ages": {"items": {"type": "integer"}}}, "required": ["name"]}


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        (None, object, None),
        (PERSON, {"name": "x", "ages": [1]}, None),
        (PERSON, {"ages": [1, "two"]}, 'at ages[1]: "two" is not of type "integer"'),
        (PERSON, {"ages": []}, '"name" is a required property'),
        ({"format": "date"}, "28.11.2026", '"date"'),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]}, [1], "null"),
        ({"$ref": "#"}, 1, None),
        ({"pattern": "^(a+)+$"}, "a" * 40 + "b", "does not match"),
        ({"pattern": "^(?=(a+)+$)b"}, "a" * 40 + "b", "does not match"),
    ],
)
def test_a_value_fits_or_the_validator_says_why(schema, value, says):
    """The validator's words name the place and what is wrong there; patterns cannot take time without end."""
    problem = asyncio.run(problem_of(schema, value))
    assert problem is None if says is None else says in (problem or "")


def test_a_schema_that_takes_time_without_end_is_given_up():
    """A few lines of alternatives that multiply end in words, and hold nobody up."""
    defs = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)} | {"a60": {"type": "string"}}
    with pytest.raises(InputError, match="too much time"):
        asyncio.run(problem_of({"$defs": defs, "$ref": "#/$defs/a0"}, 1))


@pytest.mark.parametrize(
    "schema", [{"type": "strnig"}, {"pattern": "("}, {"$ref": "#/nope"}, {"$schema": "http://h/x"}]
)
def test_what_is_no_schema_is_told(schema):
    """A schema that is none is an error that names its file."""
    with pytest.raises(InputError, match=r"`schema`: a\.json: it is not a JSON Schema: "):
        asyncio.run(SchemaChecker().check(schema, "a.json"))
    asyncio.run(SchemaChecker().check({"type": "string"}, "a.json"))
