"""
Names that never start a run: one table of pattern, whose file it is, and what it means.

Names are judged one by one, from the workspace's root down; a path is ignored when

1. its folder is too deep (see `too_deep`),
2. a folder on the way matches a rule for folders, or
3. its own name matches a rule for files.

A file that is no input anyway (`notes.txt`, `note_input.txt.331050326`) needs no
rule here: an input's name must end exactly in an input's ending. The rules are
for names that do end so, and for telling a person why a file was passed over.

Sources: `tests/saves` (recorded savers), the sync tools' manuals and the names
that their clients in other languages leave behind.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

SECOND_COPY = "a second copy of an input"
"""Meaning of the names that file managers and browsers give to copies."""

_CONFLICT_WORDS = (
    "conflicted copy",  # English; Nextcloud's and ownCloud's desktop clients use it in every language
    "case conflict",
    "selective sync conflict",
    "unicode encoding conflict",
    "white ?space conflict",
    "read-only conflict",
    "in konflikt stehende kopie",
    "konfliktkopie",
    "schreibschutzkonflikt",
    "copie en conflit",
    "copia conflictiva",
    "copia en conflicto",
    "copia in conflitto",
    "c[oó]pia em conflito",
    "conflicterende kopie",
    "kopia powodująca konflikt",
    "конфликтующая копия",
    "競合コピー",
    "上の問題のあるコピー",
    "冲突副本",
    "衝突複本",
    "충돌된 사본",
)
"""What Dropbox, Nextcloud and ownCloud write between the brackets of a conflict copy's name."""


class Where(StrEnum):
    """Where in a name a rule's pattern is tried. Tried everywhere, the table would triple the cost of a scan."""

    START = "start"
    ENDING = "ending"  # from the last dot on
    INSIDE = "inside"  # anywhere, in a name that holds one of `_HINTS`


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One line of the table.

    Attributes:
        where: See `Where`.
        pattern: Regular expression for one name (not for a whole path).
        whose: The program that leaves such names.
        meaning: What the name means, for a person.
        files: Whether it is about files.
        folders: Whether it is about folders, and so about everything in them.
    """

    where: Where
    pattern: str
    whose: str
    meaning: str
    files: bool = True
    folders: bool = False

    @property
    def reason(self) -> str:
        """Why such a name is passed over, for a person."""
        return f"{self.meaning} ({self.whose})"


def _start(pattern: str, whose: str, meaning: str, *, folders: bool = False) -> Rule:
    return Rule(Where.START, pattern, whose, meaning, folders=folders)


def _ending(pattern: str, whose: str, meaning: str) -> Rule:
    return Rule(Where.ENDING, rf"\.(?:{pattern})\Z", whose, meaning)


def _conflict(pattern: str, whose: str) -> Rule:
    return Rule(Where.INSIDE, pattern, whose, "a conflict copy", folders=True)


def _copy(pattern: str, whose: str, meaning: str = SECOND_COPY) -> Rule:
    return Rule(Where.INSIDE, rf"_(?:input|prompt){pattern}", whose, meaning)


def _folder(name: str, whose: str, meaning: str) -> Rule:
    return Rule(Where.START, rf"{re.escape(name)}\Z", whose, meaning, files=False, folders=True)


RULES = (
    # Of two rules that fit, the one further up speaks; those for the start of a name before the others.
    _start(r"\.syncthing\.rlmwatch-.*\.tmp\Z", "rlmwatch", "a file that is being written"),
    _start(r"[.~]syncthing[.~].*\.tmp\Z", "Syncthing", "a file that is being received"),
    _start(r"\.goutputstream-", "GNOME programs", "a file that is being written"),
    _start(r"\.~lock\..*#\Z", "LibreOffice", "a lock"),
    _start(r"\.#", "Emacs, JOE", "a lock"),
    _start(r"\..*\.sw[a-z]\Z", "Vim, nano", "a swap file or a lock"),
    _start(r"\..*\.un~\Z", "Vim", "an undo history"),
    _start(r"\..*\.icloud\Z", "iCloud Drive", "a placeholder of a file that is not on this machine"),
    _start(r"\._", "macOS", "attributes of another file"),
    _start(r"\.(?:nfs[0-9a-f]{8}|fuse_hidden)", "NFS, FUSE", "a deleted file that is still open"),
    _start(r"\.", "hidden", "a name that begins with a dot", folders=True),
    _start(r"#[^#]+#\Z", "Emacs", "an unsaved edit"),
    _start(r"~\$", "Microsoft Office", "a lock"),
    _start(r"~", "editors, Office", "a name that begins with ~", folders=True),
    _start(r"4913\Z", "Vim", "a probe whether the folder can be written"),
    # Folders of systems and tools (design, section 4), and snapshots, which hold every input once more.
    _folder("lost+found", "the file system", "rescued files"),
    _folder("#recycle", "Synology", "a waste bin"),
    _folder("#snapshot", "Synology", "snapshots"),
    _folder("@eaDir", "Synology", "indexes"),
    _folder("@Recycle", "QNAP", "a waste bin"),
    _folder("@Recently-Snapshot", "QNAP", "snapshots"),
    _folder("$RECYCLE.BIN", "Windows", "a waste bin"),
    _folder("System Volume Information", "Windows", "the system's own data"),
    _folder("node_modules", "npm", "installed packages"),
    _folder("__pycache__", "Python", "compiled code"),
    _start(r"#", "editors", "a name that begins with #"),
    # Endings.
    _ending(r".*~", "editors", "a backup"),
    _ending(r"bak|old|orig|rej|save", "editors, patch, git", "a backup"),
    _ending(r"sw[a-px]", "Vim", "a swap file"),
    _ending(r"lock|lck", "programs", "a lock"),
    _ending(r"te?mp|vsctmp|part|partial|filepart|crdownload|download|aria2", "programs", "not complete yet"),
    _ending(r"!sync|bts|rsls[a-z]?", "Resilio Sync", "not received, or a placeholder"),
    _ending(r"nextcloud|owncloud", "Nextcloud, ownCloud", "a placeholder of a file that is not on this machine"),
    # Conflict copies.
    _conflict(r"\.sync-conflict-\d{8}-\d{6}", "Syncthing"),
    _conflict(r"\((?i:.{0,120}?(?:" + "|".join(_CONFLICT_WORDS) + "))", "Dropbox, Nextcloud"),
    _conflict(r" \(case clash from ", "Nextcloud"),
    _conflict(r"_conflict-(?:.{1,80}-)?\d{8}-\d{6}(?=\.|\Z)", "ownCloud"),
    _conflict(r" \(SFConflict ", "Seafile"),
    _conflict(r" \((?i:conflict(?:ed)?)(?: #?\d+)?(?: on [^)]*)?\)", "Unison, pCloud"),
    _conflict(r"\[(?i:conflict(?:ed)?)(?: ?\d+)?\]", "Google Drive, pCloud"),
    _conflict(r"\.Conflict(?:\d+|\(\d+\))?(?=\.|\Z)", "Resilio Sync"),
    _conflict(r"\.conflict\d+(?=\.|\Z)", "rclone bisync"),
    _conflict(r"_[A-Z][a-z]{2}-\d\d-\d{4,6}-\d{4}_Conflict(?=\.|\Z)", "Synology Drive"),
    # These would fit ordinary names too, so they are about copies of inputs alone. None of them fits a name that
    # ends in an input's ending: `draft_input-v2_input.txt` is an input.
    _copy(r" ?\(\d+\)\.(?:txt|md)\Z", "Google Drive, browsers"),
    _copy(r" \d+\.(?:txt|md)\Z", "iCloud Drive"),
    _copy(r"(?: - | )(?i:copy|kopie)(?: \(?\d+\)?)?\.(?:txt|md)\Z", "file managers"),
    _copy(r"-[^_]{1,64}\.(?:txt|md)\Z", "OneDrive", "a conflict copy"),
)

_HINTS = ("onflict", "(", "[", "put ", "put-", "prompt ", "prompt-")
"""Without one of these, no pattern for the inside of a name can fit (a test holds them against the table)."""

MAX_FOLDERS = 64
"""Folders on the way to an input. A path that a person made has ten; beyond 1,000, walks of libraries end in errors."""

MAX_FOLDER_BYTES = 3_000
"""Of a folder's path: the system takes 4,095 for all, with the workspace's own and the longest name (255) in it."""

TOO_DEEP = f"its folder is more than {MAX_FOLDERS} folders deep, or its path longer than {MAX_FOLDER_BYTES:,} bytes"

_CACHED_FOLDERS = 16_384
"""Folders whose verdict is kept: a scan asks once for each file of a folder. About 200 bytes each."""


def _table(where: Where, *, folders: bool) -> re.Pattern[str]:
    """Return one expression for all rules of a place; the group that fits is named `r<index>`."""
    fitting = (
        f"(?P<r{index}>{rule.pattern})"
        for index, rule in enumerate(RULES)
        if rule.where is where and (rule.folders if folders else rule.files)
    )
    return re.compile("|".join(fitting), re.DOTALL)


_FILE_START = _table(Where.START, folders=False)
_FILE_ENDING = _table(Where.ENDING, folders=False)
_FILE_INSIDE = _table(Where.INSIDE, folders=False)
_FOLDER_START = _table(Where.START, folders=True)
_FOLDER_INSIDE = _table(Where.INSIDE, folders=True)


def _reason(found: re.Match[str] | None) -> str | None:
    if found is None or found.lastgroup is None:
        return None
    return RULES[int(found.lastgroup[1:])].reason


def _inside(name: str, table: re.Pattern[str]) -> re.Match[str] | None:
    if not any(hint in name for hint in _HINTS):
        return None
    # macOS takes letters with accents apart; the words of the table are whole.
    return table.search(name if name.isascii() else unicodedata.normalize("NFC", name))


def too_deep(folder: str) -> bool:
    """Whether *folder* (POSIX path inside the workspace) is deeper than is watched."""
    return folder.count("/") >= MAX_FOLDERS or len(folder.encode("utf-8", "surrogateescape")) > MAX_FOLDER_BYTES


def ignored_folder(path: str) -> str | None:
    """
    Say why nothing in the folder *path* is ever an input, or None; `""` is the workspace's root.

    For a walk, which need not go down there, and for `ignored`.
    """
    return TOO_DEEP if too_deep(path) else _ignored_by_name(path)


@lru_cache(maxsize=_CACHED_FOLDERS)
def _ignored_by_name(path: str) -> str | None:
    for name in path.split("/"):
        if reason := _reason(_FOLDER_START.match(name) or _inside(name, _FOLDER_INSIDE)):
            return f"in the folder {name}: {reason}"
    return None


def ignored(path: str) -> str | None:
    """
    Say why the file *path* (POSIX, inside the workspace) is never an input, or None where no rule is against it.

    None does not make it an input: see `names.classify`.
    """
    folder, _, name = path.rpartition("/")
    if folder and (reason := ignored_folder(folder)):
        return reason
    return _reason(
        _FILE_START.match(name) or _FILE_ENDING.match(name, max(name.rfind("."), 0)) or _inside(name, _FILE_INSIDE)
    )
