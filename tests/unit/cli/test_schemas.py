"""What the verbs print as JSON is what docs/schemas says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from rlmwatch.cli.costs import costs
from rlmwatch.cli.doctor import doctor
from rlmwatch.cli.main import VERBS, build
from rlmwatch.cli.runs import runs
from rlmwatch.cli.schemas import SCHEMAS, schema
from rlmwatch.cli.show import show
from rlmwatch.cli.status import status

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "schemas"
SAME = {"retry": "submit"}


def test_the_schemas_in_the_docs_are_those_of_the_types():
    """`make schemas` writes them; nothing else stands there."""
    assert {file.stem for file in FOLDER.glob("*.json")} == set(SCHEMAS)
    for name in SCHEMAS:
        assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == schema(name), "run `make schemas`"


def test_every_verb_that_prints_json_has_a_schema():
    """No `--json` without its types in docs/schemas."""
    app = build()
    for verb in VERBS:
        below = [app[verb][each] for each in app[verb] if not each.startswith("-")] or [app[verb]]
        for each in below:
            if any("--json" in argument.names for argument in each.assemble_argument_collection()):
                assert any(name.startswith(SAME.get(verb, verb)) for name in SCHEMAS), verb


def names_in(value, schema, defs):
    """Yield (names in *value*, names in its *schema*) of every object that has named properties."""
    schema = defs.get(schema.get("$ref", "").rpartition("/")[2], schema)
    for choice in schema.get("anyOf", ()):
        if value is not None and choice.get("type") != "null":
            yield from names_in(value, choice, defs)
    if isinstance(value, list) and "items" in schema:
        for each in value:
            yield from names_in(each, schema["items"], defs)
    if isinstance(value, dict) and "properties" in schema:
        yield set(value), set(schema["properties"])
        for name, each in value.items():
            yield from names_in(each, schema["properties"].get(name, {}), defs)


@pytest.mark.parametrize("name", ["runs", "status", "status-run", "status-all", "costs", "doctor", "show"])
def test_what_is_printed_is_what_the_schema_says(workspace, capsys, name):
    """Every name that is printed stands in the schema, every name of the schema is printed, and the values fit."""
    job = next((workspace / "jobs").glob("*-job-*")).stem
    say = {
        "runs": lambda: runs(workspace, as_json=True),
        "status": lambda: status(workspace=workspace, as_json=True),
        "status-run": lambda: status(job, workspace=workspace, as_json=True),
        "status-all": lambda: status(as_json=True),
        "costs": lambda: costs(workspace, as_json=True),
        "doctor": lambda: doctor(workspace, as_json=True),
        "show": lambda: show(job, workspace=workspace, as_json=True),
    }
    say[name]()
    printed = json.loads(capsys.readouterr().out)
    TypeAdapter(SCHEMAS[name]).validate_python(printed)
    whole = json.loads(schema(name))
    found = list(names_in(printed, whole, whole.get("$defs", {})))
    assert found
    assert [(has, named) for has, named in found if has != named] == []
