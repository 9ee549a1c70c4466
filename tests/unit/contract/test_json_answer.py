"""Schemas, and the JSON in what a model wrote (contract/json_answer.py)."""

from __future__ import annotations

import json

import pytest

from rlmwatch.contract.json_answer import NotJson, allows_object, answer_in, is_json, json_of, read_schema
from rlmwatch.errors import InputError


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (' {"a": 1.50}\n', '{"a": 1.50}'),
        ("7", "7"),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ("```\n[1]\n```", "[1]"),
        ("~~~~JSON\n[1]\n~~~~", "[1]"),
        ('Here it is:\n\n```json\n{"a": "x"}\n```\nAnything else?', '{"a": "x"}'),
        ('```python\nx = 1\n```\n```json\n{"a": 1}\n```', '{"a": 1}'),
        ('"a string with ```json in it"', '"a string with ```json in it"'),
    ],
)
def test_2_the_json_is_kept_as_the_model_wrote_it(text: str, kept: str):
    """The JSON is the whole text or the one block of it, without its fence, to the letter."""
    found, value = answer_in(text)
    assert found == kept
    assert value == json.loads(kept)


@pytest.mark.parametrize(
    "text",
    [
        "Sure!",
        "",
        '{"a": 1',
        '{"a": 1} and more',
        "```json\n1\n```\n```json\n2\n```",
        "```json\n{\n```",
        '```json\n{"a": 1}',
        "NaN",
        '{"a": Infinity}',
        "1e999",
        "[" * 5000 + "]" * 5000,
        "[" + "1," * 300_000 + "1]",
        "1" * 5000,
    ],
)
def test_2_what_holds_no_json_says_why(text: str):
    """Prose, half a value, two blocks, what JSON has not, and what is too deep or large is refused in words."""
    with pytest.raises(NotJson) as wrong:
        answer_in(text)
    assert str(wrong.value).startswith("it ")
    assert len(str(wrong.value)) < 500
    assert not is_json(text)


@pytest.mark.parametrize("raw", [b'{"type": "object"}', "\ufeff{}".encode(), '{"$ref": "#/$defs/a"}'.encode("utf-16")])
def test_1_a_schema_is_an_object(raw: bytes):
    """A schema is a JSON object in UTF-8, or with a byte order mark."""
    assert isinstance(read_schema(raw, "a.json"), dict)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://h/x"},
        {"$ref": "other.json"},
        {"$defs": {"a": [{"allOf": [{"$ref": "//h/x#/a"}]}]}},
        {"$dynamicRef": "https://h/x"},
        {"$recursiveRef": "x"},
    ],
)
def test_1_a_reference_that_leads_elsewhere_is_refused(schema: object):
    """Only what stands in the same file may be referred to."""
    with pytest.raises(InputError, match=r"`schema`: a\.json: .*nothing else is opened"):
        read_schema(json.dumps(schema).encode(), "a.json")


def test_1_a_property_may_have_the_name_of_a_reference():
    """`$ref` as the name of a property is no reference."""
    assert read_schema(b'{"properties": {"$ref": {"type": "string"}}}', "a.json")


def test_a_number_that_json_has_not_is_no_answer():
    """A value of the model's code with NaN in it is told as such."""
    with pytest.raises(NotJson, match="NaN"):
        json_of({"a": float("nan")})


@pytest.mark.parametrize(
    ("schema", "may_be"),
    [
        (None, True),
        ({}, True),
        ({"type": "object"}, True),
        ({"type": ["null", "object"]}, True),
        ({"type": "array"}, False),
    ],
)
def test_whether_the_root_may_be_an_object(schema: object, may_be: bool):
    """The protocol's `json_object` is asked for only where an object is an answer."""
    assert allows_object(schema) is may_be
