"""`rlmwatch doctor --exam`: the price first, then the questions, then what the model can do."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from rlmwatch.cli.exam import LINES, exam, is_right, questions, verdict
from rlmwatch.daemon.composition import Parts
from rlmwatch.errors import UsageError, WrongKey
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.models.select import Choice

CELLS = {
    "ERROR": "answer(sum(' ERROR ' in line for line in context.splitlines()))",
    "region south": "answer(sum(int(r.split(',')[2]) for r in context.splitlines() if ',south,' in r))",
    "largest": "answer(max(int(r.split(',')[2]) for r in context.splitlines()[1:]))",
    "June": "answer(str(context.count('2026-06')))",
    "safe": "import re\nanswer('The number is ' + re.search(r'safe is (\\d+)', context)[1])",
}


class Priced(ScriptedModel):
    """A provider that costs money."""

    def price(self, _model: str) -> tuple[float, float]:
        return 1e-6, 4e-6


def coding(request):
    """Write the right cell for each question."""
    asked = "\n".join(message.content for message in request.messages[1:])
    return f"```python\n{next(cell for word, cell in CELLS.items() if word in asked)}\n```"


def prose(_request):
    """Guess."""
    return "There are about 12."


def examined(tmp_path, model, *, writes_code=True, yes=True, as_json=False):
    """Return the exit status of an exam of *model*."""
    environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}

    async def find_model(*_):
        return model, Choice("made", "m", "the test says so", writes_code=writes_code)

    parts = Parts(find_model=find_model, users_options=True)
    with capture_logs():  # which the verb keeps out of its output
        return exam(environ, None, yes=yes, as_json=as_json, parts=parts)


def test_a_model_that_codes_passes(tmp_path, capsys):
    """Through the real engine each question is marked; with four of five right the exit status is 0."""
    assert examined(tmp_path, Priced(coding)) == 0
    out, err = capsys.readouterr()
    *lines, last = out.splitlines()
    assert last.startswith("m (scripted): 5 of 5 right: it can do the engine's work")
    assert [" right; 1 calls" in line for line in lines] == [True] * 5, out
    assert "at most 35 calls and $0.34" in err


def test_a_model_that_does_not_code_fails_in_words(tmp_path, capsys):
    """A guess in prose is no right answer; the exit status is 1, and the last line says what it is good for."""
    assert examined(tmp_path, Priced(prose), as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["right"], found["of"]) == (0, 5)
    assert "use it for chats and plain jobs" in found["verdict"]
    assert {row["why"] for row in found["questions"]} == {"no_code"}


def test_nothing_is_asked_before_the_price_is_agreed_to(tmp_path, capsys):
    """Where it costs money and nobody can say yes, the price is shown and nothing is asked; what is free is asked."""
    model = Priced(coding)
    with pytest.raises(UsageError, match="--yes"):
        examined(tmp_path, model, yes=False)
    assert (model.requests, "$0.34" in capsys.readouterr().err) == ([], True)
    assert examined(tmp_path, ScriptedModel(coding), yes=False) == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_the_embedded_model_is_not_asked(tmp_path, capsys, as_json):
    """Of the model that is known to write no code it says so, with the ways to one that does; exit status 1."""
    model = ScriptedModel([])
    assert examined(tmp_path, model, writes_code=False, as_json=as_json) == 1
    out = capsys.readouterr().out
    assert "it cannot do the engine's work; it needs a model that can write code" in out
    assert "OPENAI_API_KEY" in out
    assert model.requests == []


def test_a_wrong_key_ends_it(tmp_path):
    """What no other question would change is said once, and not five times."""
    model = ScriptedModel([WrongKey("no such key")])
    with pytest.raises(WrongKey):
        examined(tmp_path, model)


def test_the_questions_need_the_text_and_have_one_answer():
    """Each is answered by code on its context alone, differs with the seed, and is the same for the same."""
    asked = questions(1)
    assert asked == questions(1)
    assert {each.answer for each in asked} != {each.answer for each in questions(2)}
    assert all(len(each.context.splitlines()) >= LINES and each.answer.isdigit() for each in asked)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("37", True),
        ("**37**.", True),
        ("37.0", True),
        ("1,037", False),
        ("37 of 300", False),
        ("", False),
        (None, False),
    ],
)
def test_an_answer_is_right_where_it_gives_the_number_alone(answer, right):
    """A list of numbers, among which the right one is, is no answer."""
    assert is_right(answer, "37") is right


def test_the_verdict_goes_by_how_many_are_right():
    """From four of five up it can, from two it does some, below it cannot."""
    assert ["can do" in verdict(n, 5) for n in range(6)] == [False] * 4 + [True] * 2
    assert ["cannot" in verdict(n, 5) for n in range(6)] == [True] * 2 + [False] * 4
