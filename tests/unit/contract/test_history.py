"""The rule of what a chat is told of what was said before, number by number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.contract.history import LEAST_CHARS, history, shortened
from rlmwatch.contract.memory import Turn

said = st.text(alphabet="ab ", max_size=900)
chats = st.lists(st.builds(Turn, input=said, answer=said), max_size=12)
limits = st.integers(min_value=0, max_value=1_500)


def _turn(n, size=10):
    return Turn(input=f"q{n}".ljust(size // 2, "."), answer=f"a{n}".ljust(size // 2, "."))


def _sound(turns):
    return [turn for turn in turns if turn.input.strip() and turn.answer.strip()]


@given(chats, limits)
def test_never_over_the_limit(turns, limit):
    """Whatever was said, the history has at most that many characters."""
    assert sum(len(text) for _, text in history(turns, limit)) <= limit


@given(chats, limits)
def test_questions_and_answers_alternate_and_none_is_blank(turns, limit):
    """Providers get what they ask for: user, assistant, user, assistant, each with a text."""
    messages = history(turns, limit)
    assert [role for role, _ in messages] == ["user", "assistant"] * (len(messages) // 2)
    assert all(text for _, text in messages)


@given(chats, limits)
def test_1_the_newest_turns_are_kept_without_a_hole(turns, limit):
    """What is kept whole are the last turns, in their order, and as many as fit."""
    messages = history(turns, limit)
    pairs = [(messages[i][1], messages[i + 1][1]) for i in range(0, len(messages), 2)]
    sound = _sound(turns)
    expected = sound[len(sound) - len(pairs) :]
    assert pairs[1:] == [(turn.input, turn.answer) for turn in expected[1:]]
    if len(pairs) < len(sound):
        left_out = sound[len(sound) - len(pairs) - 1]
        used = sum(len(text) for _, text in messages)
        assert used + len(left_out.input) + len(left_out.answer) > limit


@given(chats, st.integers(min_value=LEAST_CHARS, max_value=1_500))
def test_1_the_newest_turn_is_always_told(turns, limit):
    """A chat with a sound turn never forgets the last one, however long it is."""
    assert bool(history(turns, limit)) == bool(_sound(turns))


def test_2_turn_longer_than_the_limit_keeps_head_tail_and_its_length():
    """Of a turn that alone is too long, beginning and end are told, and how long it was."""
    long = Turn(input="BEGIN" + "x" * 20_000 + "END", answer="short answer")
    messages = history([_turn(1), long], 8_000)
    assert len(messages) == 2
    asked, answered = messages[0][1], messages[1][1]
    assert answered == "short answer"
    assert asked.startswith("BEGIN")
    assert asked.endswith("END")
    assert "20,008 characters in all" in asked
    assert 7_900 < len(asked) + len(answered) <= 8_000


def test_2_long_turn_behind_a_newer_one_takes_the_room_that_is_left():
    """A turn that alone is too long does not vanish because a short one followed it."""
    messages = history([_turn(1), Turn(input="x" * 9_000, answer="y" * 9_000), _turn(3)], 8_000)
    assert len(messages) == 4
    assert all("9,000 characters in all" in text for _, text in messages[:2])


def test_3_turn_that_does_not_fit_ends_the_choice():
    """A history has no holes: what is older than a turn left out is left out too."""
    messages = history([_turn(1, 10), _turn(2, 900), _turn(3, 200)], 1_000)
    assert [text.rstrip(".") for _, text in messages] == ["q3", "a3"]


def test_blank_turns_are_passed_over():
    """A turn whose text a person emptied is not sent."""
    messages = history([_turn(1), Turn(input="q", answer=" \n"), Turn(input="", answer="a")])
    assert [text.rstrip(".") for _, text in messages] == ["q1", "a1"]


@given(st.text(max_size=300), st.integers(min_value=0, max_value=400))
def test_shortened_text_fits(text, room):
    """A shortened text has at most the room that it was given, and a short one is as it was."""
    cut = shortened(text, room)
    assert len(cut) <= room or cut == text
    assert cut == text or len(text) > room
