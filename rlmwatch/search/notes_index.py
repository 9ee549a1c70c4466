"""
An index of the words of a workspace's notes: SQLite's FTS5, in a file of the private state.

1. It holds nothing that the notes do not: it is built at the first search, brought up to date at each later one, and
   built anew where it is gone, damaged, or of another version.
2. A note is read again where its size or times differ; where its bytes are the same all the same, that is all.
3. One update takes `UPDATE_S` seconds at most and looks at `MAX_NOTES` notes of `MAX_BYTES` together; the rest of a
   first build is done by the next search, and who searches is told.
4. What is looked for is words: nothing that stands in a query is FTS5's own language.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import structlog

from rlmwatch import clock
from rlmwatch.version import __version__
from rlmwatch.workspace.note_files import NoteFile, note_files, note_text, read_note

VERSION = zlib.crc32(f"1 {__version__}".encode()) >> 1
"""Of the index; what is a note may be judged otherwise by another version of rlmwatch. SQLite's number has 31 bits."""
MAX_NOTES = 50_000
MAX_BYTES = 200_000_000
"""Of all notes together, as much as material may have."""
UPDATE_S = 30.0
"""20,000 notes of 1 KB take some 10 s at first, 0.4 s later (`benchmarks/notes.py`)."""
BUSY_S = 2 * UPDATE_S
"""For another process that uses the same index, such as `rlmwatch answer` beside the daemon; it may be updating it."""
_LOOK_S = 0.2
"""How often who waits looks whether the search was cancelled."""
COMMIT_EVERY = 500
MAX_TERMS = 32
TERM_CHARS = 64
_PREFIX_FROM = 3
"""Letters from which on a word of the query also stands for longer ones: `bee` finds `bees`, `in` not `inside`."""
_RECENT_NS = 2_000_000_000
"""A note that was written so shortly before it was read may have been written again within the same time stamp."""

_SCHEMA = """
CREATE TABLE notes (
  id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, modified INTEGER NOT NULL,
  changed INTEGER NOT NULL, digest BLOB NOT NULL
) STRICT;
CREATE VIRTUAL TABLE words USING fts5(name, body, tokenize = 'porter unicode61 remove_diacritics 2');
"""
_DAMAGED = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA})
_WORD = re.compile(r"\w+")
_NO_SPACES = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff])"
)
"""Scripts without spaces, and Korean, whose endings grow on: each sign is indexed as a word, a word is a sequence."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Updated:
    """
    How an update went.

    Attributes:
        notes: How many are in the index now.
        read: How many were read for it.
        missing: How many are not in it yet, since the time or the room was up.
        seconds: How long it took.
    """

    notes: int
    read: int
    missing: int
    seconds: float


class IndexUnusable(Exception):
    """The index cannot be written or read; the text says why."""


def find(
    root: Path, file: Path, query: str, most: int, *, now_ns: int, stopped: Callable[[], bool] = lambda: False
) -> tuple[list[str], Updated]:
    """
    Bring the index *file* of the notes in *root* up to date, and return the paths of those that fit *query* best.

    Blocks.

    Args:
        root: The workspace.
        file: Made with its folder where it is missing.
        query: Any text; its words count.
        most: Paths wanted, at most.
        now_ns: Nanoseconds since 1970.
        stopped: Whether nobody waits for it any more.

    Raises:
        IndexUnusable: It cannot be written or read.
    """
    for again in (False, True):
        try:
            with closing(_opened(file, stopped)) as index:
                updated = _update(index, root, now_ns, stopped)
                return _found(index, query, most), updated
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if again or code not in _DAMAGED:
                raise IndexUnusable(f"the index of the notes, {file}, cannot be used: {error}") from None
            log.warning("notes.index_rebuilt", file=str(file), why=str(error))
            _remove(file)
        except OSError as error:
            raise IndexUnusable(f"{error.filename or root}: {error.strerror or error}") from None
    raise AssertionError("it is built anew once")  # pragma: no cover


def terms(text: str) -> list[str]:
    """Return the words of *text* as the index has them; one of a script without spaces is a sequence of signs."""
    return [" ".join(_spaced(word).split()) for word in _WORD.findall(unicodedata.normalize("NFKC", text))]


def _spaced(text: str) -> str:
    return text if text.isascii() else _NO_SPACES.sub(r" \1 ", text)


def _opened(file: Path, stopped: Callable[[], bool]) -> sqlite3.Connection:
    """Return the index, which is this connection's alone until it is closed: what an update has read stays true."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    index = sqlite3.connect(file, timeout=_LOOK_S, isolation_level=None)
    try:
        index.execute("PRAGMA locking_mode = EXCLUSIVE")
        _wait(index, stopped)
        index.execute("PRAGMA synchronous = NORMAL")  # what a crash of the machine takes is read again
        (version,) = index.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            index.execute("BEGIN IMMEDIATE")
            for (table,) in index.execute("SELECT name FROM sqlite_master WHERE name IN ('notes', 'words')").fetchall():
                index.execute(f"DROP TABLE {table}")
            for statement in filter(str.strip, _SCHEMA.split(";\n")):
                index.execute(statement)
            index.execute(f"PRAGMA user_version = {VERSION}")
            index.execute("COMMIT")
    except BaseException:
        index.close()
        raise
    return index


def _wait(index: sqlite3.Connection, stopped: Callable[[], bool]) -> None:
    """
    Lock *index* as soon as no other connection uses it.

    Raises:
        sqlite3.OperationalError: One does for longer than `BUSY_S`, or nobody waits for it any more.
    """
    until = clock.monotonic() + BUSY_S
    while True:
        try:
            index.execute("PRAGMA journal_mode = WAL")
            index.execute("BEGIN IMMEDIATE")
            index.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or stopped() or clock.monotonic() > until:
                raise
        else:
            return


def _remove(file: Path) -> None:
    for each in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))):
        each.unlink(missing_ok=True)


def _update(index: sqlite3.Connection, root: Path, now_ns: int, stopped: Callable[[], bool]) -> Updated:
    began = clock.monotonic()
    rows = index.execute("SELECT path, id, size, modified, changed, digest FROM notes")
    known = {path: (row, (size, modified, changed), digest) for path, row, size, modified, changed, digest in rows}
    signatures = {path: signature for path, (_, signature, _) in known.items()}
    gone = dict.fromkeys(known)
    room, read, missing, seen = MAX_BYTES, 0, 0, 0
    in_time = True
    index.execute("BEGIN IMMEDIATE")
    for note in note_files(root, signatures):
        seen += 1
        room -= note.size
        if seen > MAX_NOTES or room < 0:
            missing += 1
            continue  # what is in the index of it goes
        gone.pop(note.path, None)
        row, signature, digest = known.get(note.path, (None, None, b""))
        if signature == note.signature:
            continue
        in_time = in_time and clock.monotonic() - began < UPDATE_S and not stopped()
        if not in_time:
            missing += 1
            continue
        _take_in(index, root, note, row, digest, now_ns)
        read += 1
        if read % COMMIT_EVERY == 0:
            index.execute("COMMIT")
            index.execute("BEGIN IMMEDIATE")
    for path in gone:
        _drop(index, known[path][0])
    index.execute("COMMIT")
    (notes,) = index.execute("SELECT count(*) FROM words_docsize").fetchone()
    return Updated(notes, read, missing, clock.monotonic() - began)


def _take_in(
    index: sqlite3.Connection, root: Path, note: NoteFile, row: int | None, before: bytes, now_ns: int
) -> None:
    """Put the words of *note* into the index; a file that is no text has a row and no words, and is not read again."""
    raw = read_note(root, note.path)
    if raw is None:
        if row is not None:
            _drop(index, row)
        return
    size, modified, changed = note.signature
    if now_ns - max(modified, changed) < _RECENT_NS:
        changed = 0  # it is read again by the next search
    digest = hashlib.sha256(raw).digest()
    if row is not None and digest == before:
        times = (size, modified, changed, row)
        index.execute("UPDATE notes SET size = ?, modified = ?, changed = ? WHERE id = ?", times)
        return
    if row is not None:
        _drop(index, row)
    added = index.execute(
        "INSERT INTO notes (path, size, modified, changed, digest) VALUES (?, ?, ?, ?, ?)",
        (note.path, size, modified, changed, digest),
    )
    text = note_text(raw)
    if text is not None:
        words = (_spaced(unicodedata.normalize("NFKC", each)) for each in (note.path, text))
        index.execute("INSERT INTO words (rowid, name, body) VALUES (?, ?, ?)", (added.lastrowid, *words))


def _drop(index: sqlite3.Connection, row: int) -> None:
    index.execute("DELETE FROM words WHERE rowid = ?", (row,))
    index.execute("DELETE FROM notes WHERE id = ?", (row,))


def _found(index: sqlite3.Connection, query: str, most: int) -> list[str]:
    wanted = " OR ".join(dict.fromkeys(_as_term(term) for term in terms(query)[:MAX_TERMS]))
    if not wanted:
        return []
    rows: Iterator[tuple[str]] = index.execute(
        "SELECT notes.path FROM words JOIN notes ON notes.id = words.rowid WHERE words MATCH ? "
        "ORDER BY bm25(words, 4.0, 1.0), notes.path LIMIT ?",
        (wanted, most),
    )
    return [path for (path,) in rows]


def _as_term(term: str) -> str:
    """Return *term* as FTS5's quoted string, in which nothing is syntax: it consists of letters, digits and blanks."""
    return f'"{term[:TERM_CHARS]}"' + ("*" if len(term) >= _PREFIX_FROM and " " not in term else "")
