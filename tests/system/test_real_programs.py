"""Real editors and tools save into a real folder under the real daemon: each save is one run of its whole text."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from system.conftest import Shared
from system.terminal import CTRL_O, CTRL_X, ESC, Terminal, terminal

TEXT = "How do I write to a file?\nSecond line, with ümlauts.\n"
"""What is saved first."""
MORE = "One more line."
"""What a person then adds at the end."""


@pytest.fixture
def folder(shared: Shared, request: pytest.FixtureRequest) -> Path:
    """A sub-folder for this test alone."""
    made = shared.home.workspace / request.node.name
    made.mkdir()
    return made


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def do(shared: Shared, *command: str | Path, cwd: Path | None = None) -> None:
    """Run a tool to its end, as this person."""
    env = shared.home.environ() | {
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }
    subprocess.run([*map(str, command)], cwd=cwd, env=env, check=True, capture_output=True, timeout=60)


def ran(shared: Shared, folder: Path) -> dict[str, list[str]]:
    """Wait until all that was saved so far was read, then return the prompts that ran in *folder*, by path in it."""
    number = sum(line["path"].startswith("sentinel") for line in shared.daemon.seen("save.admitted"))
    for n in (number + 1, number + 2):  # the second is read later than any path that was admitted shortly before
        shared.home.save("sentinel_input.txt", f"sentinel {n}\n")
        shared.daemon.wait("save.admitted", n, path="sentinel_input.txt")
    ledger = sqlite3.connect(f"file:{shared.home.ledger}?mode=ro", uri=True)
    try:
        found = ledger.execute("SELECT path, prompt FROM runs ORDER BY seq").fetchall()
    finally:
        ledger.close()
    runs: dict[str, list[str]] = {}
    prefix = f"{folder.relative_to(shared.home.workspace)}/"
    for path, prompt in found:
        if path.startswith(prefix):
            runs.setdefault(path.removeprefix(prefix), []).append(prompt)
    return runs


def admitted(shared: Shared, file: Path, n: int = 1) -> None:
    shared.daemon.wait("save.admitted", n, path=str(file.relative_to(shared.home.workspace)))


def edit_with_vim(shared: Shared, editor: Terminal, file: Path) -> None:
    editor.see("note_input.txt")
    editor.type(f"i{TEXT}{ESC}Gdd:w\r")  # the last line of TEXT left an empty one
    admitted(shared, file)
    editor.type(f"o{MORE}{ESC}:w\r")
    admitted(shared, file, 2)
    editor.type(":w!\r")  # the same bytes
    editor.type("oNever saved.\x1b:q!\r")


@pytest.mark.parametrize("command", [("vim",), ("vim", "-u", "NONE"), ("nvim",), ("nvim", "--clean")], ids=" ".join)
def test_vim(shared: Shared, folder: Path, command: tuple[str, ...]):
    """A person who writes twice in vim or Neovim gets two answers, and none for `:w!` without a change or for `:q!`."""
    file = folder / "note_input.txt"
    with terminal(*command, "note_input.txt", cwd=folder, env=shared.home.environ()) as editor:
        edit_with_vim(shared, editor, file)
        assert editor.end() == 0
    assert ran(shared, folder) == {"note_input.txt": [TEXT, f"{TEXT}{MORE}\n"]}
    assert {path.name for path in folder.iterdir() if path.name.startswith(".")} == set()


def test_nano(shared: Shared, folder: Path):
    """A person who writes out twice in nano, once in between without a change, gets two answers."""
    with terminal("nano", "note_input.txt", cwd=folder, env=shared.home.environ()) as editor:
        editor.see("GNU nano")
        editor.type(TEXT.replace("\n", "\r").rstrip("\r"))
        for n in (1, 2):  # the second time without a change
            editor.type(f"{CTRL_O}\r")
            editor.see("Wrote", n)
        admitted(shared, folder / "note_input.txt")
        editor.type(f"\r{MORE}{CTRL_O}\r")
        admitted(shared, folder / "note_input.txt", 2)
        editor.type(CTRL_X)
        assert editor.end() == 0
    assert ran(shared, folder) == {"note_input.txt": [TEXT, f"{TEXT}{MORE}\n"]}


def test_ed(shared: Shared, folder: Path):
    """Whoever writes twice in ed, once more without a change, gets two answers."""
    file = folder / "note_input.txt"
    with terminal("ed", "note_input.txt", cwd=folder, env=shared.home.environ()) as editor:
        editor.type(f"a\n{TEXT}.\nw\n")
        admitted(shared, file)
        editor.type(f"a\n{MORE}\n.\nw\nw\nq\n")
        admitted(shared, file, 2)
        assert editor.end() == 0
    assert ran(shared, folder) == {"note_input.txt": [TEXT, f"{TEXT}{MORE}\n"]}


def test_rsync(shared: Shared, folder: Path, tmp_path: Path):
    """New and changed files that rsync brings run once each; its second pass without a change runs nothing."""
    needs("rsync")
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a_input.txt").write_text("a\n")
    (source / "deep" / "b_input.txt").write_text("b\n")
    do(shared, "rsync", "-a", f"{source}/", folder)
    admitted(shared, folder / "a_input.txt")
    admitted(shared, folder / "deep" / "b_input.txt")
    do(shared, "rsync", "-a", f"{source}/", folder)
    do(shared, "rsync", "-a", "--checksum", "--ignore-times", f"{source}/", folder)
    (source / "a_input.txt").write_text("a, changed\n")
    do(shared, "rsync", "-a", f"{source}/", folder)
    admitted(shared, folder / "a_input.txt", 2)
    (source / "deep" / "b_input.txt").write_text("b, in place\n")
    do(shared, "rsync", "-a", "--inplace", f"{source}/", folder)
    admitted(shared, folder / "deep" / "b_input.txt", 2)
    (source / "a_input.txt").write_text("a, late\n")
    do(shared, "rsync", "-a", "--delay-updates", f"{source}/", folder)
    assert ran(shared, folder) == {
        "a_input.txt": ["a\n", "a, changed\n", "a, late\n"],
        "deep/b_input.txt": ["b\n", "b, in place\n"],
    }


def test_git(shared: Shared, folder: Path):
    """A checkout that changes an input runs it, each branch's text once per change; git's own files run nothing."""
    needs("git")
    file = folder / "note_input.txt"
    do(shared, "git", "init", "-q", "-b", "main", cwd=folder)
    file.write_text("main\n")
    (folder / ".gitignore").write_text("*_output.txt\n*_state.json\n")
    do(shared, "git", "add", ".gitignore", "note_input.txt", cwd=folder)
    do(shared, "git", "commit", "-qm", "main", cwd=folder)
    admitted(shared, file)
    do(shared, "git", "checkout", "-qb", "other", cwd=folder)
    file.write_text("other\n")
    admitted(shared, file, 2)
    do(shared, "git", "commit", "-qam", "other", cwd=folder)
    do(shared, "git", "checkout", "-q", "main", cwd=folder)
    admitted(shared, file, 3)
    do(shared, "git", "merge", "-q", "other", cwd=folder)
    admitted(shared, file, 4)
    assert ran(shared, folder) == {"note_input.txt": ["main\n", "other\n", "main\n", "other\n"]}


def test_sed_cp_mv_and_tar(shared: Shared, folder: Path, tmp_path: Path):
    """What `sed -i`, `cp -r`, `tar -x`, `mv` bring runs once; a folder renamed with its answers runs nothing."""
    needs("sed", "tar")
    tree = tmp_path / "tree"
    for n in range(5):
        (tree / f"s{n}").mkdir(parents=True)
        (tree / f"s{n}" / "x_input.txt").write_text(f"{n}\n")
    do(shared, "tar", "-C", tmp_path, "-cf", tmp_path / "tree.tar", "tree")
    do(shared, "cp", "-r", tree, folder / "copied")
    do(shared, "tar", "-C", folder, "-xf", tmp_path / "tree.tar")
    do(shared, "mv", tree, folder / "moved")
    for place in ("copied", "tree", "moved"):
        for n in range(5):
            shared.daemon.answered(f"{folder.name}/{place}/s{n}/x_output.txt")
    do(shared, "mv", folder / "copied", folder / "renamed")
    for n in range(5):
        shared.daemon.wait("save.already_answered", path=f"{folder.name}/renamed/s{n}/x_input.txt")
    do(shared, "sed", "-i", "s/0/zero/", folder / "renamed" / "s0" / "x_input.txt")
    do(shared, "sed", "-i.bak", "s/1/one/", folder / "tree" / "s1" / "x_input.txt")
    runs = ran(shared, folder)
    expected = {f"{place}/s{n}/x_input.txt": [f"{n}\n"] for place in ("copied", "tree", "moved") for n in range(5)}
    expected["renamed/s0/x_input.txt"] = ["zero\n"]
    expected["tree/s1/x_input.txt"] = ["1\n", "one\n"]
    assert runs == expected
