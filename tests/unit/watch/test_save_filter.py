"""What becomes a run."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from memory_queue import Surroundings

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import input_name
from rlmwatch.contract.text import digest
from rlmwatch.errors import LedgerError
from rlmwatch.runs.model import RunStatus, Signature
from rlmwatch.runs.queue import Known
from rlmwatch.watch.namesakes import Namesakes
from rlmwatch.watch.save_filter import BROUGHT_S, WRITTEN_S, SaveFilter, WatchConfig
from rlmwatch.workspace.snapshot import Content


def content(raw: bytes, mtime: int = 1) -> Content:
    return Content(raw, Signature(len(raw), mtime, mtime, 1))


def offer(gate: SaveFilter, raw: bytes, path: str = "note_input.txt") -> bool:
    """Return whether a run came of it."""

    async def go() -> bool:
        save = await gate.open(path, content(raw))
        return save is not None and (await gate.admit(save)).run is not None

    return asyncio.run(go())


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


@pytest.fixture
def gate(around: Surroundings, tmp_path: Path) -> SaveFilter:
    return SaveFilter(WatchConfig(), around.ports(), Namesakes(tmp_path))


def test_a_save_becomes_a_run_and_is_told(gate: SaveFilter, around: Surroundings):
    """A new content is admitted, once."""
    assert offer(gate, b"hello\n")
    assert not offer(gate, b"hello\n")
    assert offer(gate, b"hello again\n")
    assert around.queue.prompts() == ["hello\n", "hello again\n"]
    assert len(around.admissions) == 2


def test_blank_is_noted_where_the_path_is_known(gate: SaveFilter, around: Surroundings):
    """A blanked file starts nothing, and the same text as before it neither."""
    offer(gate, b"hello\n")
    assert not offer(gate, b" \n\0\n")
    assert around.queue.inputs["note_input.txt"] == Known(digest(b"hello\n"), content(b" \n\0\n").signature)
    assert not offer(gate, b"hello\n")


def test_blank_leaves_an_unknown_path_unknown(gate: SaveFilter, around: Surroundings):
    """A sync tool's empty file does not hide that the question was answered elsewhere."""
    around.answered.digests["note_input.txt"] = digest(b"hello\n")
    assert not offer(gate, b"")
    assert not offer(gate, b"hello\n")
    assert around.queue.inputs["note_input.txt"] == Known(digest(b"hello\n"), content(b"hello\n").signature)


def test_what_the_folder_answers_is_not_asked_on_a_known_path(gate: SaveFilter, around: Surroundings):
    """A branch that was switched, or a backup that was restored, brings question and answer: nothing is asked."""
    offer(gate, b"hello\n")
    around.queue.runs.clear()
    around.answered.digests["note_input.txt"] = digest(b"before\n")
    assert not offer(gate, b"before\n")
    assert offer(gate, b"another\n")


def test_an_answer_under_way_will_change_what_the_folder_shows(gate: SaveFilter, around: Surroundings):
    """Who goes back to the question before while the next is answered, is answered: its answer would be covered."""
    offer(gate, b"before\n")
    around.queue.runs.clear()
    around.answered.digests["note_input.txt"] = digest(b"before\n")
    assert offer(gate, b"next\n")
    assert offer(gate, b"before\n")


def test_again_goes_before_what_the_folder_shows(gate: SaveFilter, around: Surroundings):
    """Who asks again has seen the answer: also after a restart, and when the state file shows it."""
    gate.knows({"note_input.txt": Known("", None)})
    around.answered.digests["note_input.txt"] = digest(b"hello\n")
    assert offer(gate, b"hello\n")


def waits(gate: SaveFilter, raw: bytes, *, now: float, aged_s: float = 0.0, path: str = "note_input.txt") -> bool:
    """Return whether a content waits whose times are *aged_s* apart."""

    async def go() -> bool:
        signature = Signature(len(raw), 10**18, 10**18 + int(aged_s * 1e9), 1)
        save = await gate.open(path, Content(raw, signature))
        return save is not None and await gate.may_show_soon(save, now=now)

    return asyncio.run(go())


def test_what_a_person_saves_new_waits_for_nothing(gate: SaveFilter):
    """No ordinary save becomes later because others bring their state files after their inputs."""
    assert not waits(gate, b"hello\n", now=0.0)
    assert not waits(gate, b"hello\n", now=0.0, aged_s=1.9)


@pytest.mark.parametrize(
    ("brought", "moment_s"),
    [("by its times", BROUGHT_S), ("by its content", BROUGHT_S), ("on a known path", WRITTEN_S)],
)
def test_what_was_brought_waits_a_moment_for_its_answer(
    gate: SaveFilter, around: Surroundings, brought: str, moment_s: float
):
    """An input that was moved, restored or copied waits a moment for the state file that may follow, not longer."""
    aged_s = 60.0 if brought == "by its times" else 0.0
    if brought == "by its content":
        offer(gate, b"hello\n", "old/note_input.txt")
    if brought == "on a known path":
        offer(gate, b"hello\n")
        offer(gate, b"another\n")
        around.queue.runs = [replace(run, status=RunStatus.COMPLETE) for run in around.queue.runs]
    for now in (10.0, 10.0 + moment_s / 2):
        assert waits(gate, b"hello\n", now=now, aged_s=aged_s)
    assert not waits(gate, b"hello\n", now=10.0 + moment_s, aged_s=aged_s)
    assert waits(gate, b"hello\n", now=20.0, aged_s=aged_s)
    around.answered.digests["note_input.txt"] = digest(b"hello\n")
    assert not offer(gate, b"hello\n")
    assert around.queue.inputs["note_input.txt"].digest == digest(b"hello\n")


def test_same_bytes_and_again_do_not_wait(gate: SaveFilter):
    """What the ledger decides alone is decided at once, however old the file is."""
    offer(gate, b"hello\n")
    assert not waits(gate, b"hello\n", now=0.0, aged_s=60.0)
    gate.knows({"note_input.txt": Known("", None)})
    assert not waits(gate, b"hello\n", now=0.0, aged_s=60.0)


def test_another_content_than_the_answered_one_runs(gate: SaveFilter, around: Surroundings):
    """A question that changed while no daemon ran is answered."""
    around.answered.digests["note_input.txt"] = digest(b"hello\n")
    assert offer(gate, b"hello, changed\n")


def test_again_makes_the_same_bytes_a_save(gate: SaveFilter, around: Surroundings):
    """`rlmwatch again` in another process is heeded: the ledger has the last word, not our memory."""
    offer(gate, b"hello\n")
    asyncio.run(around.queue.again("note_input.txt"))
    assert offer(gate, b"hello\n")


def test_a_kind_without_a_handler_is_left(gate: SaveFilter, around: Surroundings):
    """What this version cannot answer runs with the version that can."""
    around.kinds.discard(Kind.EXA)
    assert not offer(gate, b"hello\n", "exa_input.txt")
    assert "exa_input.txt" not in around.queue.inputs
    around.kinds.add(Kind.EXA)
    assert offer(gate, b"hello\n", "exa_input.txt")


def test_a_missing_marker_is_not_noted(gate: SaveFilter, around: Surroundings):
    """A text without the ready marker runs when the marker is no longer asked for."""
    gate.config = WatchConfig(ready_marker="//send")
    assert not offer(gate, b"hello\n")
    assert around.queue.inputs == {}
    assert offer(gate, b"hello\n//send\n")
    gate.config = WatchConfig()
    assert offer(gate, b"hello\n")


def test_what_a_person_must_mend_is_a_run_too(gate: SaveFilter, around: Surroundings):
    """A file that is not text makes one run that has failed, so that the person is told once."""
    assert offer(gate, b"\xe9t\xe9\n")
    assert not offer(gate, b"\xe9t\xe9\n")
    assert around.queue.runs[0].result is not None


def test_a_broken_ledger_is_not_hidden(gate: SaveFilter, around: Surroundings):
    """A save that was not stored is offered again, not taken for admitted."""
    around.queue.broken = True
    with pytest.raises(LedgerError):
        offer(gate, b"hello\n")
    around.queue.broken = False
    assert offer(gate, b"hello\n")


def test_only_inputs_are_offered(gate: SaveFilter):
    """A name that is no input's is a fault of ours, not a save."""
    with pytest.raises(ValueError, match="not an input"):
        offer(gate, b"hello\n", "notes.txt")


NFD, NFC = "cafe\u0301_input.txt", "caf\u00e9_input.txt"


def save(gate: SaveFilter, root: Path, path: str, raw: bytes) -> bool:
    """Write *path*; return whether a run came of it."""
    (root / path).write_bytes(raw)
    return offer(gate, raw, path)


@pytest.mark.parametrize(("before", "after"), [(NFD, NFC), (NFC, NFD), ("Exa_input.txt", "exa_input.TXT")])
def test_a_name_that_is_written_otherwise_is_not_asked_again(
    gate: SaveFilter, around: Surroundings, tmp_path: Path, before: str, after: str
):
    """A rename that changes only letter case or normal form asks nothing again, there and back; a new text is asked."""
    assert save(gate, tmp_path, before, b"one\n")
    (tmp_path / before).rename(tmp_path / after)
    assert not offer(gate, b"one\n", after)
    assert save(gate, tmp_path, after, b"two\n")
    (tmp_path / after).rename(tmp_path / before)
    assert not offer(gate, b"two\n", before)
    assert save(gate, tmp_path, before, b"one\n")
    assert around.queue.prompts() == ["one\n", "two\n", "one\n"]


def test_a_rename_while_no_daemon_ran_is_not_asked_again(gate: SaveFilter, around: Surroundings, tmp_path: Path):
    """What the ledger knows under the old spelling is known under the new one, also after a restart."""
    (tmp_path / NFC).write_bytes(b"one\n")
    gate.knows({NFD: Known(digest(b"one\n"), None)})
    assert not offer(gate, b"one\n", NFC)
    assert around.queue.inputs[NFC].digest == digest(b"one\n")
    restarted = SaveFilter(WatchConfig(), around.ports(), Namesakes(tmp_path))
    restarted.knows(around.queue.inputs)
    assert not offer(restarted, b"one\n", NFC)


@pytest.mark.parametrize(
    ("older", "newer"), [(NFD, NFC), ("Exa_input.txt", "exa_input.txt"), ("A_job_input.txt", "a_Job_input.TXT")]
)
def test_of_two_that_differ_only_in_spelling_the_older_keeps_the_name(
    gate: SaveFilter, around: Surroundings, tmp_path: Path, older: str, newer: str
):
    """The newer of two is told, and never asked, also after a restart; the older goes on as before."""
    assert save(gate, tmp_path, older, b"old\n")
    name = input_name(older)
    assert name is not None
    (tmp_path / name.output).write_text("answer")
    for gate_now in (gate, SaveFilter(WatchConfig(), around.ports(), Namesakes(tmp_path))):
        gate_now.knows(dict(sorted(around.queue.inputs.items(), reverse=newer > older)))
        assert save(gate_now, tmp_path, newer, f"new {gate_now is gate}\n".encode())
        refused = around.queue.runs[-1]
        assert refused.result is not None
        assert older in (refused.result.error or "")
        assert refused.prompt == ""
        assert save(gate_now, tmp_path, older, f"old {gate_now is gate}\n".encode())
        assert around.queue.runs[-1].result is None
    (tmp_path / older).unlink()
    assert save(gate, tmp_path, newer, b"new, alone\n")
    assert around.queue.runs[-1].result is None
