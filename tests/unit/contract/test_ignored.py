"""The table of names that never start a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlmwatch.contract import ignored as table
from rlmwatch.contract.ignored import MAX_FOLDERS, RULES, Where, ignored, ignored_folder, too_deep
from rlmwatch.contract.names import input_name

TRACES = Path(__file__).parents[2] / "saves" / "traces"

CONFLICT_COPIES = {
    "Syncthing": [
        "chat_input.sync-conflict-20260101-120000-ABCDEFG.txt",
        "chat_input.sync-conflict-20160101-120000.txt",
        "x.sync-conflict-20260101-120000-ABCDEFG_input.txt",
        "jobs/20261123T091502Z-chat-7f3a9c.sync-conflict-20260101-120000-ABCDEFG.json",
    ],
    "Dropbox, Nextcloud": [
        "x (conflicted copy 2026-01-01).txt",
        "x (Anna's conflicted copy 2026-01-01 120000).txt",
        "x (Anna's conflicted copy).txt",
        "x (DESKTOP-1 (2)'s conflicted copy 2026-01-01).txt",
        "x (conflicted copy 2018-04-10 101500).txt",
        "x (conflicted copy anna 2018-04-10 101500).txt",
        "x (Case Conflict).txt",
        "x (Case Conflict 1).txt",
        "x (Selective Sync Conflict).txt",
        "x (Unicode Encoding Conflict).txt",
        "x (In Konflikt stehende Kopie von anna 2026-01-01).txt",
        "x (Annas in Konflikt stehende Kopie 2026-01-01).txt",
        "x (Copie en conflit de Anna 2026-01-01).txt",
        "x (Copia conflictiva de Anna 2026-01-01).txt",
        "x (Copia en conflicto de Anna 2026-01-01).txt",
        "x (Copia in conflitto di Anna 2026-01-01).txt",
        "x (Cópia em conflito de Anna 2026-01-01).txt",
        "x (Co\u0301pia em conflito de Anna 2026-01-01).txt",
        "x (Конфликтующая копия пользователя Anna 2026-01-01).txt",
        "x (アンナ の競合コピー 2026-01-01).txt",
        "x (Anna 的冲突副本 2026-01-01).txt",
        "notes (Selective Sync Conflict)/chat_input.txt",
        "notes (conflicted copy 2026-01-01)/deep/chat_input.txt",
    ],
    "Nextcloud": ["x (case clash from 2026-01-01 120000).txt"],
    "ownCloud": ["x_conflict-20180410-101500.txt", "x_conflict-anna-20180410-101500.txt"],
    "Seafile": ["x (SFConflict anna@example.org 2026-01-01-12-00-00).txt"],
    "Unison, pCloud": ["x (conflict on 2026-01-01).txt", "x (conflict #2 on 2026-01-01).txt", "x (conflicted).txt"],
    "Google Drive, pCloud": ["x [Conflict].txt", "x [conflicted].txt"],
    "Google Drive, browsers": ["x_input (1).txt", "x_input(1).txt", "research_prompt (12).md"],
    "iCloud Drive": ["x_input 2.txt", "research_prompt 3.md"],
    "OneDrive": ["chat_input-DESKTOP-1A2B3C.txt", "chat_input-Annas MacBook.md", "research_prompt-LAPTOP-2.txt"],
    "file managers": ["x_input copy.txt", "x_input copy 2.txt", "x_input - Copy (2).txt", "x_input - Kopie.txt"],
    "Resilio Sync": ["x.Conflict.txt", "x.Conflict1.txt", "x.Conflict.Conflict.txt", "notes.Conflict/chat_input.txt"],
    "rclone bisync": ["x_input.conflict1.txt", "x_input.txt.conflict2"],
    "Synology Drive": ["x_DiskStation_Jan-02-150405-2026_Conflict.txt"],
}

OTHER_NAMES = {
    "hidden": [".chat_input.txt", ".git/x_input.txt", "a/.cache/b/x_input.txt", ".x_input.txt.26Wo", "../x_input.txt"],
    "rlmwatch": [".syncthing.rlmwatch-3f2a.tmp"],
    "Syncthing": [".syncthing.note_input.txt.tmp", "~syncthing~note_input.txt.tmp"],
    "GNOME programs": [".goutputstream-VV2JZ3"],
    "LibreOffice": [".~lock.chat_input.txt#"],
    "Emacs": ["#chat_input.txt#"],
    "Emacs, JOE": [".#note_input.txt"],
    "editors": ["chat_input.txt~", "note_input.txt.~1~", "#chat_input.txt"],
    "editors, Office": ["~chat_input.txt", "~backup/chat_input.txt"],
    "Microsoft Office": ["~$chat_input.txt"],
    "Vim, nano": [".note_input.txt.swp", ".note_input.txt.swx"],
    "Vim": [".note_input.txt.un~", "note_input.txt.swp", "4913"],
    "macOS": ["._chat_input.txt"],
    "NFS, FUSE": [".nfs0000000001a2b3c4", ".fuse_hidden0000000100000001"],
    "iCloud Drive": [".chat_input.txt.icloud"],
    "Nextcloud, ownCloud": ["chat_input.txt.nextcloud", "chat_input.txt.owncloud"],
    "Resilio Sync": ["chat_input.txt.!sync", "chat_input.txt.rsls", "chat_input.txt.rslsf"],
    "programs": ["chat_input.txt.tmp", "chat_input.txt.vsctmp", "chat_input.txt.part", "chat_input.txt.lock"],
    "editors, patch, git": ["chat_input.txt.bak", "chat_input.txt.orig"],
    "the file system": ["lost+found/chat_input.txt"],
    "Synology": ["#recycle/x_input.txt", "a/@eaDir/x_input.txt", "#snapshot/x_input.txt"],
    "QNAP": ["@Recycle/x_input.txt", "@Recently-Snapshot/x_input.txt"],
    "Windows": ["$RECYCLE.BIN/x_input.txt", "System Volume Information/x_input.txt"],
    "npm": ["web/node_modules/x/chat_input.txt"],
    "Python": ["__pycache__/chat_input.txt"],
}  # fmt: skip

NOT_IGNORED = [
    "chat_input.txt",
    "notes/alice_chat_input.md",
    "research_prompt.txt",
    "draft_input-v2_input.txt",
    "what is a conflict_input.txt",
    "study (conflict resolution)_input.txt",
    "notes (1)/chat_input.txt",
    "notes 2/chat_input.txt",
    "notes-DESKTOP/chat_input.txt",
    "#1/chat_input.txt",
    "node_modules_input.txt",
    "a~b_input.txt",
    "copy of x_input.txt",
    "x_input copy_input.txt",
    "tmp/chat_input.txt",
    "x.tmp_input.txt",
    "jobs/20261123T091502Z-chat-7f3a9c.json",
    "rlmwatch.toml",
    "",
]


@pytest.mark.parametrize(
    ("whose", "path"),
    [(whose, path) for table in (CONFLICT_COPIES, OTHER_NAMES) for whose, paths in table.items() for path in paths],
)
def test_a_temporary_file_or_a_conflict_copy_is_passed_over_and_its_program_is_named(whose, path):
    """What editors and sync tools leave is never a save, and the log names the program that left it."""
    reason = ignored(path)

    assert reason is not None
    assert reason.endswith(f"({whose})")


@pytest.mark.parametrize("path", NOT_IGNORED)
def test_an_ordinary_name_is_not_passed_over(path):
    """A name that only resembles a temporary file or a conflict copy is still an input."""
    assert ignored(path) is None


@pytest.mark.parametrize("folder", ["", "notes", "a/b/c", "jobs", "#1", "notes (1)", "tmp"])
def test_ordinary_folders_are_walked(folder):
    """A person's folder is looked into."""
    assert ignored_folder(folder) is None


@pytest.mark.parametrize("folder", [".git", "a/.git/b", "node_modules", "a/lost+found", "~", "x (Case Conflict)/b"])
def test_folders_of_systems_and_tools_are_not_walked(folder):
    """Nothing in a hidden folder, a waste bin or a conflict copy of a folder is a save."""
    assert ignored_folder(folder) is not None
    assert ignored(f"{folder}/chat_input.txt") == ignored_folder(folder)


def test_what_recorded_savers_leave_beside_an_input_is_either_ignored_or_ends_in_no_input_ending():
    """Of the files that forty real savers made, only the saved inputs themselves look like inputs."""
    names = set()
    for trace in TRACES.glob("*.json"):
        recorded = json.loads(trace.read_text(encoding="utf-8"))
        names |= {entry[2] for entry in recorded["kernel"]} | set(recorded["after"])
    looks_like_an_input = {name for name in names if name.endswith("_input.txt") and ignored(name) is None}

    assert len(names) > 40
    assert {name.rpartition("/")[2] for name in looks_like_an_input} == {
        "note_input.txt",
        "other_input.txt",
        "deep_input.txt",
        "x_input.txt",
    }


@settings(deadline=None)
@given(st.sampled_from([rule for rule in RULES if rule.where is Where.INSIDE]).flatmap(
    lambda rule: st.from_regex(re.compile(rule.pattern, re.DOTALL))
))  # fmt: skip
def test_the_quick_look_before_the_patterns_hides_none_of_them(name):
    """Every name that a pattern for the inside of a name can fit holds one of the texts that are looked for first."""
    assert any(hint in name for hint in table._HINTS)


@settings(deadline=None)
@given(st.text())
def test_any_text_gets_an_answer(path):
    """No name, however odd, breaks the look at a folder."""
    assert ignored(path) is None or ignored(path)


@settings(deadline=None)
@given(st.from_regex(r"\A[a-z][a-z0-9_]{0,20}/[a-zA-Z0-9][a-zA-Z0-9 _.-]{0,20}_input\.(txt|md)\Z"))
def test_a_plainly_named_input_is_passed_over_only_as_a_conflict_copy(path):
    """A name of letters, digits, spaces, dots, dashes and underscores is an input, unless a sync tool marked it."""
    reason = ignored(path)

    assert reason is None or "conflict" in path.casefold()


@pytest.mark.parametrize(
    ("folder", "deep"),
    [
        ("/".join(["a"] * MAX_FOLDERS), False),
        ("/".join(["a"] * (MAX_FOLDERS + 1)), True),
        ("/".join(["a"] * 5000), True),
        ("/".join(["ä" * 125] * 11), False),
        ("/".join(["ä" * 125] * 12), True),
        ("\udcff" * 3000, False),
    ],
)
def test_what_is_too_deep_is_never_an_input(folder: str, deep: bool):
    """Neither in too many folders, nor where the path would be longer than the system takes."""
    assert too_deep(folder) is deep
    assert (ignored(f"{folder}/chat_input.txt") is not None) is deep
    assert (input_name(f"{folder}/x_input.txt") is None) is deep
