"""Answers in JSON, with the real daemon (file contract, section 3; guide)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from servers.openai_server import Fault, OpenAIServer, Reply
from system.harness import Home, question
from system.researching import is_root
from system.test_jobs_by_files import Office, Talker

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
GOOD = '{"name": "Ada", "age": 36}'


@pytest.fixture(scope="module")
def coder() -> Scripted:
    return Scripted()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, coder: Scripted) -> Iterator[Office]:
    """One daemon for all tests that need none of their own, with a schema in its workspace."""
    with OpenAIServer(coder) as provider:
        home = Home(tmp_path_factory.mktemp("json") / "home", provider)
        home.set("workers = 8\n")
        home.save("person.json", json.dumps(SCHEMA))
        with home.daemon() as daemon:
            yield Office(home, coder, provider, daemon)


class Scripted(Talker):
    """A model that is asked plainly, too: replies by a word of the question, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.plain: dict[str, list[Any]] = {}

    def __call__(self, body: dict[str, Any]) -> Any:
        if not is_root(body):
            for word, replies in self.plain.items():
                if word in str(body["messages"]):
                    return replies.pop(0) if len(replies) > 1 else replies[0]
        return super().__call__(body)


def ask(office: Office, name: str, text: str, head: str = "schema: person.json") -> None:
    office.home.save(f"{name}_input.txt", f"---\n{head}\n---\n{text}\n")


def test_an_answer_fits_its_schema_and_lands_in_the_json_file(office: Office, coder: Scripted):
    """`schema:` sends the schema in words and as `response_format`; the JSON lands in `…_output.json` and the state."""
    coder.plain["who is it"] = [f"```json\n{GOOD}\n```"]
    ask(office, "who", "who is it")
    office.daemon.answered("who_output.txt")
    assert office.home.read("who_output.json") == f"{GOOD}\n"
    assert office.home.read("who_output.txt") == f"{GOOD}\n"
    assert office.home.state("who_state.json")["turns"][0]["answer"] == GOOD
    assert office.home.turns("who_state.json") == ["who is it\n"]
    (body,) = office.bodies("who is it")
    assert body["response_format"] == {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    assert '"required"' in question(body)
    status = office.home.status_of("who_input.txt")
    assert (status["output"], status["answer"], status["outcome"]) == ("who_output.json", GOOD, "success")


def test_an_answer_that_does_not_fit_is_asked_for_once_more_with_the_validators_words(office: Office, coder: Scripted):
    """The second request holds the first answer and what is wrong with it; both calls are journalled."""
    coder.plain["how old is it"] = ['{"name": "Ada"}', GOOD]
    ask(office, "old", "how old is it")
    office.daemon.answered("old_output.txt")
    assert office.home.read("old_output.json") == f"{GOOD}\n"
    second = office.bodies("how old is it")[1]["messages"]
    assert second[-2] == {"role": "assistant", "content": '{"name": "Ada"}'}
    assert '"age" is a required property' in second[-1]["content"]
    assert office.home.status_of("old_input.txt")["usage"]["llm_calls"] == 2


def test_an_answer_that_fits_at_no_try_is_an_error_with_the_models_text(office: Office, coder: Scripted):
    """After two answers that do not fit nothing is published; the error has the validator's and the model's words."""
    coder.plain["never right"] = ['{"name": "Ada"}', '{"name": 7, "age": 36}']
    ask(office, "never", "never right")
    office.daemon.wait("run.failed", path="never_input.txt")
    said = office.home.appears("never_error.txt", "The model wrote")
    assert 'at name: 7 is not of type "string"' in said
    assert '{"name": 7, "age": 36}' in said
    assert not office.home.exists("never_output.json")
    assert not office.home.exists("never_output.txt")
    assert len(office.bodies("never right")) == 2
    assert "The model wrote" not in str(office.daemon.seen("run.failed", path="never_input.txt"))


def test_json_without_a_schema(office: Office, coder: Scripted):
    """`json: true` takes any JSON, asks the protocol for an object, and refuses prose."""
    coder.plain["any json"] = ["Sure!", '{"a": [1, 2.50]}']
    ask(office, "any", "any json", "json: true")
    office.daemon.answered("any_output.txt")
    assert office.home.read("any_output.json") == '{"a": [1, 2.50]}\n'
    assert office.bodies("any json")[0]["response_format"] == {"type": "json_object"}


def test_a_provider_that_does_not_know_response_format_is_asked_by_words_alone(home: Home, provider: OpenAIServer):
    """Where `response_format` is refused, it is left out, the words stay, and other calls are as before."""

    def script(body: dict[str, Any]) -> Any:
        if "response_format" in body:
            return Fault.status(400, {"error": {"message": "This response_format type is unavailable now"}})
        return GOOD

    with OpenAIServer(script) as strict:
        home.provider = strict
        home.save("person.json", json.dumps(SCHEMA))
        home.save("a_input.txt", "---\nschema: person.json\n---\nWho?\n")
        with home.daemon() as daemon:
            daemon.answered("a_output.txt")
        assert home.read("a_output.json") == f"{GOOD}\n"
        kinds = [call.body.get("response_format", {}).get("type") for call in strict.calls]
        assert kinds == ["json_schema", "json_object", None]
        assert "JSON Schema" in question(strict.calls[-1].body)


@pytest.mark.parametrize(
    ("name", "schema", "says"),
    [
        ("missing", None, "no such file"),
        ("broken", '{"type": ', "is not JSON"),
        ("list", "[1]", "begins with {"),
        ("type", '{"type": "strnig"}', "not a JSON Schema"),
        ("remote", '{"$ref": "http://127.0.0.1:9/s.json"}', "nothing else is opened"),
        ("file", '{"properties": {"a": {"$ref": "file:///etc/passwd"}}}', "nothing else is opened"),
        ("meta", '{"$schema": "http://127.0.0.1:9/draft"}', "not a JSON Schema"),
        ("large", json.dumps({"description": "x" * 70_000}), "larger"),
        ("deep", "[" * 5000, "nests more than"),
        ("bytes", b"\xff\xfe\x00\xd8", "schema"),
    ],
)
def test_a_schema_that_is_missing_or_wrong_costs_nothing(office: Office, name: str, schema: str | bytes | None, says):
    """A schema file that is missing, broken or leads elsewhere is an error that names it, before any call."""
    if schema is not None:
        office.home.save(f"s-{name}.json", schema)
    ask(office, f"s-{name}", f"wrong schema {name}", f"schema: s-{name}.json")
    said = office.home.appears(f"s-{name}_error.txt", f"s-{name}.json")
    assert says in said
    assert office.bodies(f"wrong schema {name}") == []


def test_a_schema_outside_the_workspace_is_refused(office: Office):
    """Neither `..`, nor an absolute path, nor a link leads out of the workspace."""
    outside = office.home.root / "outside.json"
    outside.write_text("{}")
    (office.home.workspace / "linked.json").symlink_to(outside)
    for name, path in {"up": "../outside.json", "abs": str(outside), "link": "linked.json"}.items():
        ask(office, f"out-{name}", f"leads out {name}", f"schema: {path}")
        office.home.appears(f"out-{name}_error.txt", "leads out of the workspace")
    assert office.bodies("leads out") == []


def test_a_schema_that_would_be_checked_for_years_ends_in_an_error_and_others_are_answered(office: Office, coder):
    """A schema whose alternatives multiply stops neither the daemon nor another conversation."""
    defs: dict[str, Any] = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)}
    defs["a60"] = {"type": "string"}
    office.home.save("bomb.json", json.dumps({"$defs": defs, "$ref": "#/$defs/a0"}))
    coder.plain["tick tock"] = ["1"]
    ask(office, "bomb", "tick tock", "schema: bomb.json")
    office.home.save("beside_input.txt", "Beside it\n")
    office.daemon.answered("beside_output.txt")
    office.daemon.wait("run.failed", path="bomb_input.txt", outcome="bad_input", timeout=60)
    assert "too much time or memory" in office.home.appears("bomb_error.txt", "`schema`")
    assert len(office.bodies("tick tock")) == 1  # another answer would help nothing


def test_the_engines_answer_is_checked_in_its_session(office: Office, coder: Scripted):
    """`answer(value)` that does not fit is refused with the validator's words, and the run goes on."""
    office.home.save("crew_job_data.txt", "Ada 36")
    coder.on("the crew", "answer({'name': 'Ada'})", "answer({'name': 'Ada', 'age': 36})")
    office.home.save("crew_job_input.txt", "---\nschema: person.json\n---\nthe crew, please\n")
    office.daemon.answered("crew_job_output.txt")
    assert json.loads(office.home.read("crew_job_output.json")) == {"name": "Ada", "age": 36}
    last = office.bodies("the crew")[-1]["messages"][-1]["content"]
    assert "answer() was refused" in last
    assert '"age" is a required property' in last
    assert "response_format" not in office.bodies("the crew")[0]


def test_an_engine_at_its_limit_gives_json_without_a_mark_or_an_error(office: Office, coder: Scripted):
    """What a limit makes of a run is JSON in the JSON file, marked as cut short in the text file alone."""
    office.home.save("limit_job_data.txt", "x")
    coder.on("the limit", "print(len(context))")
    coder.synthesis = f"Here:\n```json\n{GOOD}\n```"
    office.home.save("limit_job_input.txt", "---\nschema: person.json\nmax_steps: 2\n---\nthe limit, please\n")
    office.daemon.answered("limit_job_output.txt")
    assert office.home.read("limit_job_output.json") == f"{GOOD}\n"
    assert office.home.cut_short("limit_job_output.txt", "step limit") == GOOD
    assert office.status("limit")["partial"] is True


def test_a_later_answer_in_words_takes_the_json_file_away_and_leaves_a_persons_own(office: Office, coder: Scripted):
    """The JSON file of an earlier answer is removed by one in words; a file that the person wrote stays."""
    coder.plain["first in json"] = [GOOD]
    ask(office, "turn", "first in json")
    office.daemon.answered("turn_output.txt")
    office.home.save("turn_input.txt", "now in words\n")
    office.daemon.answered("turn_output.txt", n=2)
    assert not office.home.exists("turn_output.json")
    office.home.save("own_output.json", '{"mine": 1}')
    office.home.save("own_input.txt", "in words alone\n")
    office.daemon.answered("own_output.txt")
    assert office.home.read("own_output.json") == '{"mine": 1}'


def test_a_folder_asks_for_json_and_a_question_may_decline(office: Office, coder: Scripted):
    """`schema` of a sub-folder's rlmwatch.toml holds for its questions; `json: false` declines."""
    office.home.save("forms/rlmwatch.toml", '[chat]\nschema = "form.json"\n')
    office.home.save("forms/form.json", json.dumps(SCHEMA))
    coder.plain["fill the form"] = [GOOD]
    office.home.save("forms/a_input.txt", "fill the form\n")
    office.daemon.answered("forms/a_output.txt")
    assert office.home.read("forms/a_output.json") == f"{GOOD}\n"
    ask(office, "forms/b", "no form here", "json: false")
    office.daemon.answered("forms/b_output.txt")
    assert not office.home.exists("forms/b_output.json")


def test_half_an_answer_at_the_time_limit_is_no_json(home: Home, provider: OpenAIServer):
    """What had come at the time limit is shown in the error; no half of a JSON value is published."""
    with OpenAIServer([Fault.stall('{"name": "A')]) as slow:
        home.provider = slow
        home.save("person.json", json.dumps(SCHEMA))
        home.save("a_input.txt", "---\nschema: person.json\nmax_seconds: 2\n---\nWho?\n")
        with home.daemon() as daemon:
            daemon.wait("run.failed", path="a_input.txt")
        assert '{"name": "A' in home.read("a_error.txt")
        assert not home.exists("a_output.json")
        assert home.status_of("a_input.txt")["outcome"] == "timeout"


def test_a_json_file_that_was_deleted_is_written_anew_without_a_call(home: Home, provider: OpenAIServer):
    """`rlmwatch answer FILE` writes a deleted `…_output.json` anew."""
    with OpenAIServer([Reply(GOOD)]) as server:
        home.provider = server
        home.save("person.json", json.dumps(SCHEMA))
        home.save("a_input.txt", "---\nschema: person.json\n---\nWho?\n")
        file = str(home.workspace / "a_input.txt")
        assert home.cli("answer", file).stdout == f"{GOOD}\n"
        (home.workspace / "a_output.json").unlink()
        assert home.cli("answer", file).returncode == 0
        assert home.read("a_output.json") == f"{GOOD}\n"
        assert len(server.calls) == 1
