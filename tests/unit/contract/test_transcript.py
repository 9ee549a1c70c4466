"""What stands in a transcript, and that nothing stands there twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.contract.documents import UsageSoFar
from rlmwatch.contract.memory import Turn
from rlmwatch.contract.transcript import CitedPage, Entry, of_turn, of_undo, with_entry

TURN = Turn(
    run_id="20261128T224000Z-chat-7f3a9c",
    save_number=3,
    at="2026-11-28T22:40:00.000Z",
    model="gpt-4.1-mini",
    input="What is\nthe capital?\n",
    answer="Paris.\n",
    usage=UsageSoFar(cost_usd=0.0003),
)
SEE = "jobs/x.json"


def text_of(*turns: Turn) -> str:
    text = ""
    for turn in turns:
        text = with_entry(text, of_turn(turn, see=SEE), title="chat") or text
    return text


def test_an_entry_has_time_model_price_question_and_answer():
    """A person reads who answered what, when, and what that cost."""
    assert text_of(TURN) == (
        "# chat\n\n## 2026-11-28 22:40 UTC · gpt-4.1-mini · $0.0003\n"
        "<!-- rlmwatch turn 20261128T224000Z-chat-7f3a9c -->\n"
        "\n> What is\n> the capital?\n\nParis.\n"
    )


def test_an_entry_says_what_the_answer_stands_on_and_lacks():
    """Sources, a cut, and an unknown price are told; sources that the answer lists itself are not listed again."""
    turn = TURN.model_copy(update={"partial": True, "reason": "token_limit", "usage": UsageSoFar()})
    text = of_turn(turn, see=SEE, pages=[CitedPage("A [page]", "https://example.org/a")]).text
    assert "price not known" in text
    assert "*(cut short: token limit; see jobs/x.json)*" in text
    assert "- [A page](<https://example.org/a>)" in text
    lists = TURN.model_copy(update={"answer": "Paris [1].\n\nSources:\n[1] https://example.org/a"})
    assert of_turn(lists, see=SEE, pages=[CitedPage("A", "https://example.org/a")]).text.count("example.org") == 1


def test_rule_1_an_entry_is_never_doubled_and_no_text_passes_for_one():
    """What is published again after a crash is there once; an answer that quotes an entry hides none."""
    other = TURN.model_copy(update={"run_id": "b"})
    quotes = TURN.model_copy(update={"answer": of_turn(other, see=SEE).mark})
    text = text_of(quotes, quotes, other, quotes)
    assert text.count("\n## ") == 2
    assert text.splitlines().count(of_turn(other, see=SEE).mark) == 1


def test_rule_2_an_open_block_of_code_is_closed():
    """An answer that was cut inside a block of code does not swallow the next heading."""
    cut = TURN.model_copy(update={"answer": "See:\n````python\n```\nprint()"})
    assert of_turn(cut, see=SEE).text.endswith("print()\n````\n")
    span = TURN.model_copy(update={"answer": "```ls -l``` lists files."})
    assert of_turn(span, see=SEE).text.endswith("lists files.\n")
    whole = TURN.model_copy(update={"answer": "See:\n```python\nprint()\n```"})
    assert of_turn(whole, see=SEE).text.endswith("print()\n```\n")


def test_rule_3_what_is_taken_back_stays_with_a_line():
    """The turn is still there, and below it is said, once, that it is no longer remembered."""
    undone = of_undo(TURN, at="2026-11-28T22:50:00.000Z")
    text = with_entry(text_of(TURN), undone, title="chat") or ""
    assert text.startswith(text_of(TURN).rstrip())
    assert (
        "*(Taken back 2026-11-28 22:50 UTC: “What is the capital?” and its answer are no longer remembered.)*" in text
    )
    assert with_entry(text, undone, title="chat") is None


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_what_stands_there_stays_as_it_is(before: str, question: str, answer: str):
    """Whatever is asked and answered, a transcript only grows, by one entry that is found again."""
    entry: Entry = of_turn(TURN.model_copy(update={"input": question, "answer": answer}), see=SEE)
    grown = with_entry(before, entry, title="chat")
    assert grown is not None
    assert grown.startswith(before.rstrip("\n"))
    assert grown.splitlines().count(entry.mark) == 1
    assert with_entry(grown, entry, title="chat") is None
