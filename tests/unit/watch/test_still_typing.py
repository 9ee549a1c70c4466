"""Whether a text is still being typed; the tests are named after the rules of `still_typing.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from rlmwatch.contract.text import digest
from rlmwatch.watch.still_typing import FIRST_REST_S, LONGEST_REST_S, WINDOW_S, Typed, Typing, Written

PATH = "note_input.txt"


def written(body: str, *, head: str = "", **options: object) -> Written:
    whole = f"---\n{head}\n---\n{body}" if head else body
    return Written(digest(whole.encode()), options, body, whole)


@dataclass
class Editor:
    """One input, whose saves are judged and admitted."""

    typing: Typing = field(default_factory=Typing)
    number: int = 0

    def sees(self, what: Written, *, now: float, answered: bool = False) -> Typed:
        if self.typing.grows_from(PATH, what, now=now) is None:
            return Typed()
        return self.typing.judge(PATH, what, answered=answered, now=now)

    def saves(self, text: str | Written, *, now: float, answered: bool = False) -> Typed:
        what = written(text) if isinstance(text, str) else text
        typed = self.sees(what, now=now, answered=answered)
        self.number += 1
        self.typing.admitted(PATH, what, typed, run_id=f"run-{self.number}", number=self.number, now=now)
        return typed


@pytest.fixture
def editor() -> Editor:
    return Editor()


def test_1_a_finished_question_rests_for_nothing(editor: Editor):
    """A first save, and another question after it, are asked at once and for themselves."""
    assert editor.saves("What is the capital of France?", now=0.0) == Typed()
    assert editor.saves("What is the capital of Spain?", now=5.0, answered=True) == Typed()
    assert editor.saves("What", now=6.0) == Typed()


@pytest.mark.parametrize("end", ["", " ", "\n", "\n\n"])
@pytest.mark.parametrize("answered", [True, False])
def test_2a_who_goes_on_in_the_same_line_is_typing(editor: Editor, end: str, answered: bool):
    """Half a sentence that grows is one question, whatever white space its save ended in."""
    editor.saves(f"What is the{end}", now=0.0)
    assert editor.saves("What is the capital", now=2.0, answered=answered) == Typed(FIRST_REST_S, 1)


def test_2c_who_goes_on_before_the_answer_is_there_is_typing(editor: Editor):
    """A new line under a text that nobody answered yet belongs to the same question."""
    editor.saves("Three uses of a brick.", now=0.0)
    assert editor.saves("Three uses of a brick.\nOr two.", now=2.0) == Typed(FIRST_REST_S, 1)


@pytest.mark.parametrize(
    ("before", "more"),
    [("We like:", "tea"), ("books,", "and tea"), ("tea;", "rum"), ("Buy", "- tea"), ("Buy", "2) tea"), ("Buy", "*")],
)
def test_2b_who_goes_on_with_a_list_is_typing(editor: Editor, before: str, more: str):
    """A list that grows line by line is one question, though an answer came in between."""
    editor.saves(before, now=0.0)
    assert editor.saves(f"{before}\n{more}", now=5.0, answered=True) == Typed(FIRST_REST_S, 1)


def test_2c_a_slip_that_is_corrected_is_typing(editor: Editor):
    """Where the editor saves while one types, the last word may be typed anew before the answer is there."""
    editor.saves("What", now=0.0)
    editor.saves("What is the", now=1.0)
    editor.saves("What is the capitla", now=4.0)
    assert editor.saves("What is the capit", now=6.0) == Typed(LONGEST_REST_S, 1)
    assert editor.saves("What is the capital of France?", now=14.0) == Typed(LONGEST_REST_S, 1)


def test_3_a_slip_that_was_answered_is_another_question(editor: Editor):
    """Who changes the last word of an answered question asks another; it rests where the editor saves by itself."""
    editor.saves("What is", now=0.0)
    editor.saves("What is the", now=1.0)
    editor.saves("What is the capital of France?", now=4.0)
    assert editor.saves("What is the capital of Spain?", now=20.0, answered=True) == Typed(FIRST_REST_S)


def test_one_growth_does_not_show_that_an_editor_saves_by_itself(editor: Editor):
    """Who goes on once, and then changes the last word, has asked another question: at once."""
    editor.saves("a", now=0.0)
    editor.saves("a, changed", now=1.0)
    assert editor.saves("a, late", now=2.0) == Typed()


def test_by_hand_another_last_word_is_another_question(editor: Editor):
    """A person who saves by hand and asks for Spain after France has asked twice, however fast."""
    editor.saves("What is the capital of France", now=0.0)
    assert editor.saves("What is the capital of Switzerland", now=1.0) == Typed()


def test_2_what_was_typing_stays_so_though_the_answer_comes_meanwhile(editor: Editor):
    """The text was written before the answer, so it is no reply to that."""
    editor.saves("Three uses of a brick.", now=0.0)
    assert editor.sees(written("Three uses of a brick.\nOr t"), now=2.0) == Typed(FIRST_REST_S, 1)
    assert editor.saves("Three uses of a brick.\nOr two.", now=5.0, answered=True) == Typed(FIRST_REST_S, 1)


def test_3_who_writes_below_an_answered_question_asks_the_next(editor: Editor):
    """Chatting by writing below, in one file: "go on" after the answer is a turn of its own, at once."""
    editor.saves("Tell me a story.\n", now=0.0)
    assert editor.saves("Tell me a story.\ngo on\n", now=10.0, answered=True) == Typed()
    assert editor.saves("Tell me a story.\ngo on\n\nand then?\n", now=20.0, answered=True) == Typed()


def test_4_the_rest_doubles_up_to_a_limit(editor: Editor):
    """The longer somebody types, the less often that is asked; never later than the limit."""
    text, rests = "a", []
    for step in range(6):
        text += " word"
        rests.append(editor.saves(text, now=step * 10.0).rest_s)
    assert rests == [0.0, FIRST_REST_S, 2 * FIRST_REST_S, LONGEST_REST_S, LONGEST_REST_S, LONGEST_REST_S]


def test_4_the_next_question_of_an_editor_that_saves_by_itself_rests_too(editor: Editor):
    """Below an answered question, half of the next one is not asked at once where its editor saves while one types."""
    editor.saves("Tell me", now=0.0)
    editor.saves("Tell me a story.", now=4.0)
    assert editor.saves("Tell me a story.\nNow a sh", now=20.0, answered=True) == Typed(FIRST_REST_S)
    assert editor.saves("Tell me a story.\nNow a shorter one.", now=25.0) == Typed(2 * FIRST_REST_S, 3)


def test_5_another_text_begins_anew(editor: Editor):
    """Once the text is another, the next save is asked at once."""
    editor.saves("Tell me", now=0.0)
    editor.saves("Tell me a story", now=4.0)
    assert editor.saves("A name for a cat", now=8.0) == Typed()
    assert editor.saves("A name for a cat and a dog", now=12.0) == Typed(FIRST_REST_S, 3)


def test_5_after_a_minute_without_a_save_it_is_a_question_of_its_own(editor: Editor):
    """Who comes back later and adds to the question gets an answer at once, beside the first."""
    editor.saves("Tell me", now=0.0)
    assert editor.sees(written("Tell me a"), now=WINDOW_S - 1).continues == 1
    assert editor.saves("Tell me a story", now=2 * WINDOW_S - 2).continues == 1, "a minute since the last save of it"
    assert editor.saves("Tell me a story, now", now=3 * WINDOW_S) == Typed()


def test_6_it_continues_all_saves_of_its_question(editor: Editor):
    """All answers to half questions make way, not those to the question before."""
    editor.saves("Hello", now=0.0)
    editor.saves("What is", now=1.0)
    editor.saves("What is the", now=2.0)
    assert editor.saves("What is the capital", now=3.0).continues == 2


def test_the_same_bytes_are_no_growth(editor: Editor):
    """What is asked `again` within a minute is asked at once."""
    editor.saves("Hello", now=0.0)
    assert editor.saves("Hello", now=1.0, answered=True) == Typed()


def test_another_head_is_another_question(editor: Editor):
    """Whoever changes a setting and saves wants the answer now, beside the first."""
    editor.saves(written("Hello", head="tokens: 60", tokens=60), now=0.0)
    assert editor.saves(written("Hello you", head="tokens: 90", tokens=90), now=1.0) == Typed()


def test_a_head_that_is_typed_is_typing(editor: Editor):
    """A head without its second line is text, until that line is typed."""
    editor.saves(written("---\ntokens: 60"), now=0.0)
    assert editor.saves(written("Hello", head="tokens: 60", tokens=60), now=3.0).continues == 1


def test_what_is_old_is_forgotten(editor: Editor):
    """A script that saves in thousands of files costs no memory for longer than a minute."""
    editor.saves("Hello", now=0.0)
    editor.typing.admitted("b_input.txt", written("x"), Typed(), run_id="r", number=1, now=WINDOW_S + 1)
    assert PATH not in editor.typing
    assert "b_input.txt" in editor.typing
