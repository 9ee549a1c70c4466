"""The search of a folder's own notes: what is found, what is never looked at, and an index that may be lost."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rlmwatch.errors import ProviderRefused
from rlmwatch.search import notes_index
from rlmwatch.search.base import SearchQuery, SearchReply
from rlmwatch.search.notes import NoteSearch

LONG_AGO = 1_600_000_000
Put = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace."""
    (tmp_path / "ws").mkdir()
    return tmp_path / "ws"


@pytest.fixture
def put(root: Path) -> Put:
    """Writes a note that is at rest."""

    def write(path: str, content: str | bytes, *, at: int = LONG_AGO) -> Path:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(file, (at, at))
        return file

    return write


def index_of(root: Path) -> Path:
    return root.parent / "state" / "notes.sqlite3"


def find(root: Path, query: str, **options: int) -> SearchReply:
    return asyncio.run(NoteSearch(lambda: root, index_of(root)).search(SearchQuery(query, **options)))


def paths(root: Path, query: str) -> list[str | None]:
    return [page.path for page in find(root, query).pages]


def read_for(root: Path, query: str) -> int:
    """How many notes were read to answer *query*."""
    with capture_logs() as logs:
        find(root, query)
    (event,) = (entry for entry in logs if entry["event"] == "notes.searched")
    return int(event["read"])


def test_a_note_is_a_page_with_its_path(root, put):
    """What is found has title, path, day and text, like a page of the web, and no address."""
    put("garden/bees.md", "# The bees\n\nWe moved the bees to the south meadow.\n")
    put("other.txt", "Nothing of that.")
    reply = find(root, "Where is the south meadow?")
    (page,) = [page for page in reply.pages if page.path == "garden/bees.md"]
    assert (page.title, page.url, page.date) == ("The bees", "", "2020-09-13")
    assert "south meadow" in page.text
    assert (reply.usage.searches, reply.usage.cost_usd, reply.notices) == (1, 0.0, ())
    assert reply.pages[0] == page


@pytest.mark.parametrize(
    ("note", "query"),
    [
        ("We moved the bees.", "bee moving"),
        ("Großer Bär im Café", "grosser cafe"),
        ("МЁД и пчёлы", "мёд"),
        ("蜂を南の牧草地に移した。", "牧草地"),
        ("벌을 남쪽 초원으로 옮겼다", "초원"),
        ("e\u0301te\u0301 a\u0300 la plage", "été"),
        ("the file foo_bar.py", "foo_bar"),
        ("Invoice 2026-11-28", "2026"),
    ],
)
def test_words_are_found_in_whatever_form_and_script(root, put, note, query):
    """Case, accents, endings and Unicode's forms do not matter; scripts without spaces are searched by their signs."""
    put("note.txt", note)
    put("other.txt", "quite another thing")
    assert paths(root, query) == ["note.txt"]


@pytest.mark.parametrize(
    "query",
    [
        '"', "'", "a AND", "NEAR(", "note:", "*", "^a", "a OR", "(((", "-a", "NOT note", "{name body}: x", "\x00", "%_",
        "'; DROP TABLE notes; --", "\\", "a" * 5000, " ".join(str(n) for n in range(2000)), "🐝", "___", "\ud800",
    ],
)  # fmt: skip
def test_no_query_is_a_syntax_error(root, put, query):
    """Whatever stands in a query is words to be looked for, or nothing."""
    put("note.txt", "a note")
    assert {page.path for page in find(root, query).pages} <= {"note.txt"}
    assert paths(root, "note") == ["note.txt"]


@pytest.mark.parametrize(
    "path",
    [
        ".hidden.md", ".obsidian/secretword.md", ".git/x.txt", ".env", "prod.env", "id_rsa", "server.key",
        "secrets.txt", "chat_input.txt", "chat_output.txt", "chat_error.txt", "chat_state.json",
        "x_research_session.json",
        "x_exa_sources.json", "jobs/20260101T000000Z-chat-0a1b2c.json", "jobs/notes.txt", "rlmwatch.toml",
        "rlmwatch_status.txt", "node_modules/x.md", "report.pdf", "note.md.swp~",
        "a.sync-conflict-20260101-120000-ABCDEFG.md",
    ],
)  # fmt: skip
def test_what_is_no_note_is_never_found(root, put, path):
    """Hidden files, secrets, questions, what rlmwatch writes, and what tools leave behind are in no index."""
    put(path, "secretword stands here")
    put("note.txt", "secretword")
    assert paths(root, "secretword") == ["note.txt"]
    assert b"stands" not in index_of(root).read_bytes()


def test_a_secret_in_a_note_keeps_it_out(root, put):
    """A text with a private key is not searched, and its words are not in the index."""
    put(
        "howto.md",
        "the secretword\n-----BEGIN OPENSSH PRIVATE KEY-----\nabcdefghij\n-----END OPENSSH PRIVATE KEY-----\n",
    )
    assert paths(root, "secretword") == []
    assert b"abcdefghij" not in index_of(root).read_bytes()


def test_nothing_outside_the_folder_is_read(root, put, tmp_path):
    """A link to a file or a folder is not followed, also where it takes a note's place after it was indexed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "diary.md").write_text("secretword")
    (root / "link.md").symlink_to(outside / "diary.md")
    (root / "folder").symlink_to(outside)
    os.mkfifo(root / "pipe.md")
    note = put("sub/diary.md", "secretword at home")
    assert paths(root, "secretword") == ["sub/diary.md"]
    note.unlink()
    note.symlink_to(outside / "diary.md")
    assert paths(root, "secretword") == []
    note.unlink()
    note.parent.rmdir()
    note.parent.symlink_to(outside)
    assert paths(root, "secretword") == []


def test_a_note_beyond_its_size_and_what_is_no_text_are_passed_over(root, put):
    """A file of more than 1 MB, an empty one and a binary one are no notes."""
    put("large.md", "secretword " * 100_000)
    put("empty.md", "")
    put("photo.jpg", b"\xff\xd8\x00secretword")
    put("note.md", "secretword")
    assert paths(root, "secretword") == ["note.md"]


def test_a_change_is_found_at_the_next_search(root, put):
    """A new, a changed, a renamed and a deleted note are each found, or not any more, by the search that follows."""
    put("one.md", "apples")
    assert paths(root, "apples") == ["one.md"]
    put("one.md", "pears!", at=LONG_AGO + 5)
    put("two.md", "apples")
    assert paths(root, "apples") == ["two.md"]
    assert paths(root, "pears") == ["one.md"]
    (root / "two.md").rename(root / "three.md")
    (root / "one.md").unlink()
    assert paths(root, "apples") == ["three.md"]
    assert paths(root, "pears") == []


def test_a_note_that_was_written_a_moment_ago_is_read_again(root):
    """Two saves within one time stamp, of one length, are told apart: what was just written is looked at once more."""
    file = root / "note.md"
    file.write_text("apples")
    stamp = file.stat().st_mtime_ns
    assert paths(root, "apples") == ["note.md"]
    file.write_text("grapes")
    os.utime(file, ns=(stamp, stamp))
    assert paths(root, "grapes") == ["note.md"]
    assert paths(root, "apples") == []


def test_only_what_changed_is_read(root, put, monkeypatch):
    """The first search reads all notes, a later one those whose size or times differ."""
    monkeypatch.setattr(notes_index, "_RECENT_NS", -(10**9))
    for n in range(5):
        put(f"note{n}.md", f"apples {n}")
    assert read_for(root, "apples") == 5
    assert read_for(root, "apples") == 0
    put("note3.md", "apples 3", at=LONG_AGO + 9)
    assert read_for(root, "apples") == 1
    assert read_for(root, "apples") == 0
    assert len(paths(root, "apples")) == 5


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "no table", "other version", "gone", "hole"])
def test_a_damaged_index_is_built_anew(root, put, damage):
    """Whatever became of the index, the next search builds it again and finds the same: it holds nothing of its own."""
    for n in range(200):
        put(f"note{n}.md", f"apples {n} " + "pears " * 50)
    before = paths(root, "apples 77")
    file = index_of(root)
    for journal in file.parent.glob("notes.sqlite3-*"):
        journal.unlink()
    if damage == "garbage":
        file.write_bytes(b"this is no database " * 1000)
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "hole":
        content = file.read_bytes()
        file.write_bytes(content[:4096] + b"\xff" * (len(content) - 8192) + content[-4096:])
    elif damage == "gone":
        file.unlink()
    else:
        index = sqlite3.connect(file)
        index.execute("DROP TABLE words" if damage == "no table" else "PRAGMA user_version = 7")
        index.commit()
        index.close()
    assert paths(root, "apples 77") == before
    assert file.stat().st_mode & 0o077 == 0


def test_an_index_that_cannot_be_written_is_an_error_in_words(root, put):
    """Where the state folder takes no index, the code that searched is told why."""
    put("note.md", "apples")
    index_of(root).parent.write_text("a file where the folder should be")
    with pytest.raises(ProviderRefused, match="state"):
        find(root, "apples")


def test_what_the_time_did_not_suffice_for_is_told_and_done_later(root, put, monkeypatch):
    """An update that ran out of time says how many notes are missing; the next search goes on with it."""
    for n in range(10):
        put(f"note{n}.md", "apples")
    with monkeypatch.context() as slow:
        slow.setattr(notes_index, "UPDATE_S", 0.0)
        reply = find(root, "apples")
    assert reply.pages == ()
    assert "10 are not in its index yet" in reply.notices[0]
    assert len(find(root, "apples", max_results=20).pages) == 10


def test_no_more_notes_than_the_limit_are_indexed(root, put, monkeypatch):
    """Beyond its limits in number and size the index takes no more, and says so."""
    for n in range(6):
        put(f"note{n}.md", "apples")
    for name, most in (("MAX_NOTES", 4), ("MAX_BYTES", 4 * len("apples"))):
        with monkeypatch.context() as small:
            small.setattr(notes_index, name, most)
            reply = find(root, "apples", max_results=20)
        assert len(reply.pages) == 4
        assert "2 are not in its index yet" in reply.notices[0]


def test_a_long_note_shows_the_passages_about_the_query(root, put):
    """Of a long note the text is cut at what was asked for, and its passages about the query are picked, in order."""
    filler = "\n\n".join(f"Paragraph {n} about nothing at all, again and again." for n in range(300))
    put("long.md", f"{filler}\n\nThe queen bee lives in hive 7.\n\n{filler}\n\nHoney of the queen: 11 jars.\n")
    (page,) = find(root, "queen bee honey", text_chars=500).pages
    assert len(page.text) == 500
    assert "The queen bee lives in hive 7." in page.highlights[0]
    assert "Honey of the queen: 11 jars." in page.highlights[1]
    put("one_line.md", "x" * 5_000 + " queen " + "y" * 5_000)
    assert all(len(part) <= 600 for page in find(root, "queen").pages for part in page.highlights)


def test_the_best_note_comes_first_and_the_order_stays(root, put):
    """A note with more of the words, or with one in its name, goes before; equal ones by path, each time."""
    put("z.md", "honey " + "filler " * 200)
    put("bees/honey harvest.md", "eleven jars")
    put("both.md", "honey harvest honey harvest")
    first = paths(root, "honey harvest")
    assert set(first[:2]) == {"bees/honey harvest.md", "both.md"}
    assert first[2] == "z.md"
    assert paths(root, "honey harvest") == first


def test_a_cancelled_search_ends_soon(root, put):
    """A run that is cancelled while its index is built waits for no note more than the one that is being read."""
    for n in range(30):
        put(f"note{n}.md", "apples")
    cancelled = threading.Event()

    async def test() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def workspace() -> Path:
            loop.call_soon_threadsafe(begun.set)
            assert cancelled.wait(30)
            return root

        task = asyncio.create_task(NoteSearch(workspace, index_of(root)).search(SearchQuery("apples")))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()
        await loop.shutdown_default_executor()

    with capture_logs() as logs:
        asyncio.run(test())
    assert [entry["read"] for entry in logs if entry["event"] == "notes.searched"] == [0]
    assert read_for(root, "apples") == 30


@pytest.mark.parametrize("is_built", [False, True])
def test_who_finds_the_index_in_use_waits_for_its_update(root, put, is_built):
    """Two processes that search at once, as `rlmwatch answer` beside the daemon: both find all, and read it once."""
    for n in range(5):
        put(f"note{n}.md", "apples")
    if is_built:
        find(root, "pears")
        put("note4.md", "apples", at=LONG_AGO + 5)
    assert notes_index.BUSY_S > notes_index.UPDATE_S
    reading, second_waits = threading.Event(), threading.Event()

    def stopped_first() -> bool:
        reading.set()
        second_waits.wait(10)
        return False

    def stopped_second() -> bool:
        second_waits.set()
        return False

    def search(stopped: Callable[[], bool]) -> tuple[list[str], notes_index.Updated]:
        return notes_index.find(root, index_of(root), "apples", 20, now_ns=LONG_AGO * 10**10, stopped=stopped)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(search, stopped_first)
        assert reading.wait(10)
        second = threads.submit(search, stopped_second)
        assert len(first.result()[0]) == len(second.result()[0]) == 5
    assert second.result()[1].read == 0


def test_who_is_cancelled_waits_no_longer_for_an_index_in_use(root, put):
    """A process that is stopped while another one updates the index ends without its answer."""
    put("note.md", "apples")
    find(root, "apples")
    with closing(sqlite3.connect(index_of(root), isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(notes_index.IndexUnusable, match="locked"):
            notes_index.find(root, index_of(root), "apples", 20, now_ns=0, stopped=lambda: True)
