"""execution/attachments.py: captured with the save, made ready once, the same at each attempt."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlmwatch.contract.history import history
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import ChatState, Turn
from rlmwatch.contract.options import RunOptions
from rlmwatch.documents.images import ImageReader
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import InputError, NoProvider
from rlmwatch.execution.attachments import Attachments, changed
from rlmwatch.handlers.chat import compose
from rlmwatch.handlers.plain import MAX_ATTACHED_CHARS, refuse_unseeing
from rlmwatch.models.base import Message
from rlmwatch.runs.attached import Attached, Image, captured_in
from rlmwatch.runs.model import Run, RunStatus, Save
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.search.fetch import FetchedPage


class Web:
    """Pages that count how often they are fetched."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.fetched: list[str] = []

    async def __call__(self, url: str) -> FetchedPage:
        self.fetched.append(url)
        return FetchedPage(self.texts.pop(0).encode(), ".txt", "utf-8")


def attachments(folder: Path, web: Web | None = None, *, pages: bool = False) -> Attachments:
    policy = Policy()
    return Attachments(
        folder / "state" / "attached",
        DocumentReader(policy),
        ImageReader(policy),
        pages_allowed=lambda: pages,
        fetch=web or Web(),
    )


def save(prompt: str, **options: object) -> Save:
    return Save("chat_input.txt", Kind.CHAT, "chat", prompt, options, "sha256:0")


def run_of(captured: Save, run_id: str = "r1") -> Run:
    return Run(
        run_id, 1, captured.path, captured.kind, captured.conversation, captured.prompt, captured.options,
        captured.digest, RunStatus.RUNNING, "2026-11-28T00:00:00Z", enclosed=captured.enclosed,
    )  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "notes.md").write_text("as it was")
    return folder


def test_the_text_is_that_of_the_save_at_each_attempt(root: Path, tmp_path: Path):
    """A file that changes after the save, or goes, changes nothing of what is sent."""
    kept = attachments(tmp_path)
    captured = kept.capture(root, save("sum up @notes.md"))
    (root / "notes.md").unlink()
    for _ in range(2):
        attached = asyncio.run(kept.of(run_of(captured)))
        assert attached.texts == {"notes.md": "as it was"}
    assert changed(root, run_of(captured))


def test_a_page_is_fetched_once_for_a_run(root: Path, tmp_path: Path):
    """A later attempt of a run works with the page as it was; another run fetches it anew."""
    web = Web("first", "second")
    kept = attachments(tmp_path, web, pages=True)
    captured = kept.capture(root, save("sum up @https://example.org/a"))
    assert web.fetched == []
    texts = [asyncio.run(kept.of(run_of(captured, run))).texts for run in ("r1", "r1", "r2")]
    assert [list(each.values()) for each in texts] == [["first"], ["first"], ["second"]]


def test_a_page_that_is_not_allowed_holds_the_run(root: Path, tmp_path: Path):
    """What a person changes in their settings is no error of the question: it waits, and nothing is fetched."""
    web = Web("first")
    kept = attachments(tmp_path, web)
    captured = kept.capture(root, save("sum up @https://example.org/a"))
    with pytest.raises(NoProvider, match=r"\[web\]"):
        asyncio.run(kept.of(run_of(captured)))
    assert web.fetched == []


def test_what_is_captured_knows_whether_it_changed(root: Path, tmp_path: Path):
    """The same bytes of a question are new once what it mentions is another, or can be found at last."""
    kept = attachments(tmp_path)
    captured = run_of(kept.capture(root, save("sum up @notes.md and [[later]]")))
    assert captured.enclosed == {}
    assert not changed(root, captured), "it still names nothing"
    (root / "later.md").write_text("now")
    assert changed(root, captured)
    captured = run_of(kept.capture(root, save("sum up @notes.md and [[later]]")))
    assert not changed(root, captured)
    (root / "notes.md").write_text("another")
    assert changed(root, captured)


def test_a_problem_is_the_saves(root: Path, tmp_path: Path):
    """What cannot go along ends the run before it begins, in words; nothing is stored."""
    kept = attachments(tmp_path)
    assert "did you mean notes.md" in (kept.capture(root, save("[[note]]")).problem or "")
    assert kept.capture(root, save("nothing here")) == save("nothing here")
    assert not kept.folder.exists()


def test_what_is_kept_is_private_and_goes_with_the_status_files(root: Path, tmp_path: Path):
    """Nobody else may look into it, and after the days that status files are kept it is removed."""
    kept = attachments(tmp_path)
    kept.capture(root, save("sum up @notes.md"))
    assert kept.folder.stat().st_mode & 0o077 == 0
    kept.prune(now="2026-01-01T00:00:00Z", keep_days=30)
    assert list(kept.folder.iterdir())
    kept.prune(now="2126-01-01T00:00:00Z", keep_days=30)
    assert not list(kept.folder.iterdir())


def test_what_is_gone_from_the_private_state_is_an_error_in_words(root: Path, tmp_path: Path):
    """A run whose captured file is lost asks for the question to be saved again, and pays nothing."""
    kept = attachments(tmp_path)
    captured = kept.capture(root, save("sum up @notes.md"))
    for file in kept.folder.iterdir():
        file.unlink()
    with pytest.raises(InputError, match="save the question again"):
        asyncio.run(kept.of(run_of(captured)))


def test_a_preview_reads_texts_and_writes_nothing(root: Path, tmp_path: Path):
    """A dry run shows what would go along, with an image as large as it may be sent, and stores nothing."""
    (root / "photo.jpg").write_bytes(b"\xff\xd8")
    asked = save("@notes.md @photo.jpg @https://example.org/")
    with pytest.raises(NoProvider):
        attachments(tmp_path).preview(root, asked)
    captured, attached = attachments(tmp_path, pages=True).preview(root, asked)
    assert [each.name for each in captured] == ["notes.md", "photo.jpg", "https://example.org/"]
    assert attached.texts["notes.md"] == "as it was"
    assert (attached.images[0].width, attached.images[0].height) == (1568, 1568)
    assert not (tmp_path / "state").exists()


def test_an_edited_record_of_what_was_captured_is_read_as_it_is(root: Path, tmp_path: Path):
    """What the ledger keeps is JSON; it becomes the same values again."""
    captured = attachments(tmp_path).capture(root, save("@notes.md"))
    (only,) = captured_in(captured.enclosed)
    assert (only.name, only.kind, only.size) == ("notes.md", "text", 9)
    assert captured_in({}) == ()
    assert replace(only, headings=("A",)).values()["headings"] == ["A"]


OPTIONS = RunOptions(model="m", tokens=300)


def test_a_chat_pays_for_a_text_in_the_turn_that_mentions_it_alone():
    """The text is in the last message; an earlier turn that had it is told by name, and costs no more than that."""
    text = "word " * 4_000
    asked = compose("sum up @a.md", OPTIONS, ChatState(), Attached({"a.md": text}))
    assert asked.messages[-1].content.count(text) == 1
    turn = Turn(input="sum up @a.md", answer="Words.", attached=("a.md",))
    later = compose("shorter", OPTIONS, ChatState(turns=(turn,)))
    assert later.messages[-3:] == (
        Message("user", "sum up @a.md\n\n(attached then, and not repeated here: a.md)"),
        Message("assistant", "Words."),
        Message("user", "shorter"),
    )
    again = compose("and of @a.md?", OPTIONS, ChatState(turns=(turn,)), Attached({"a.md": text}))
    sizes = [sum(len(message.content) for message in each.messages) for each in (asked, later, again)]
    assert sizes[1] < sizes[0] - len(text)
    assert sizes[2] < sizes[0] + 200, "what is mentioned again is sent once"
    assert history([turn])[0][1].endswith("a.md)")


@pytest.mark.parametrize(("sees", "refused"), [(False, True), (None, False), (True, False)])
def test_a_model_that_is_known_to_see_nothing_is_shown_no_image(sees: bool | None, refused: bool):
    """Where the provider's list says so, it is an error before the call; what nobody knows is asked."""
    attached = Attached(images=(Image("a.png", "sha256:1", "image/png", 3, 2, b"x"),))
    asked = SimpleNamespace(sees=lambda _model: sees)
    with pytest.raises(InputError, match="cannot see images") if refused else nullcontext():
        refuse_unseeing(attached, asked, "m")
    refuse_unseeing(Attached({"a.md": "text"}), asked, "m")


def test_a_plain_call_takes_so_much_and_no_more():
    """More text than one call takes is an error that says how much it is, and what to do; nothing is cut."""
    fits = compose("q", OPTIONS, ChatState(), Attached({"a.md": "x" * MAX_ATTACHED_CHARS}))
    assert "x" * MAX_ATTACHED_CHARS in fits.messages[-1].content
    with pytest.raises(InputError, match=r"b\.md alone 30,000.*mode: rlm"):
        compose("q", OPTIONS, ChatState(), Attached({"a.md": "x" * 20_000, "b.md": "x" * 30_000}))
