"""A folder that several users of one machine share: one of them answers, and all may read what they may (issue 13)."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.exa_server import ExaServer, result
from servers.openai_server import Answer, Fault, OpenAIServer, Reply
from system.harness import Brain, Home
from system.researching import Body, Coder, is_root

USERS = (54_321, 54_322)
"""Of nobody."""


def as_user(uid: int) -> tuple[str, ...]:
    """Return the command before a program that runs it as the user *uid*; skip where that is not possible."""
    if uid == 0:
        return ()
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("only root can be another user")
    command = (setpriv, f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    # Where Python is installed in root's home, others may read it only so; to write, they have no more rights.
    reads = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    for each in (command, command + reads):
        tried = [*each, sys.executable, "-c", "import rlmwatch"]
        if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
            return each
    pytest.skip("other users cannot read this Python")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder in which everybody may do everything."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "shared").mkdir()
        (root / "shared").chmod(0o777)
        yield root


def home_of(uid: int, root: Path, provider: OpenAIServer) -> Home:
    """Return the home of the user *uid*, whose workspace is the shared folder."""
    folder = root / f"home-{uid}"
    folder.mkdir()
    (folder / "workspace").symlink_to(root / "shared")
    home = Home(folder, provider, fresh=True)
    for each in (folder, *folder.rglob("*")):
        os.chown(each, uid, uid, follow_symlinks=False)
    return home


@pytest.mark.parametrize(
    ("first", "second"),
    [(0, USERS[0]), (USERS[0], 0), USERS],
    ids=["root then a user", "a user then root", "two users"],
)
def test_of_two_users_on_one_folder_the_second_is_told_who_answers(
    shared: Path, provider: OpenAIServer, first: int, second: int
):
    """The second ends with status 2 and names process and user of the first; each save is asked once."""
    before_first, before_second = as_user(first), as_user(second)
    home, other = home_of(first, shared, provider), home_of(second, shared, provider)
    with home.daemon(before=before_first) as daemon:
        (lock,) = home.states.glob("rlmwatch/*/lock")
        assert lock.stat().st_uid == first
        process = other.start("-m", "rlmwatch", "run", str(shared / "shared"), before=before_second)
        _, errors = process.communicate(timeout=60)
        assert process.wait() == 2, errors
        assert f"process {daemon.pid} of the user {'root' if first == 0 else first}" in errors
        (shared / "shared" / "a_input.txt").write_text("asked once", encoding="utf-8")
        daemon.answered("a_output.txt")
    assert provider.count == 1


NOBODY = 0xFFFF_FFFF
READER = USERS[0]
DEFAULT = ((1, 7, NOBODY), (2, 6, READER), (4, 5, NOBODY), (0x10, 7, NOBODY), (0x20, 0, NOBODY))
"""Owner all, one named user rw, group r-x, others nothing: acl(5), as (tag, permissions, id)."""


def may(path: Path) -> int:
    """Return what the named user may do with *path*, by its ACL and mask."""
    raw = os.getxattr(path, "system.posix_acl_access")
    entries = {(tag, who): allowed for tag, allowed, who in struct.iter_unpack("<HHI", raw[4:])}
    return entries[2, READER] & entries[0x10, NOBODY]


def test_what_is_new_in_a_folder_with_a_default_acl_gets_that(tmp_path: Path):
    """Whoever the folder's default ACL lets read and write, may so with every kind of file that appears in it."""
    coder, brain = Coder(), Brain()
    coder.on("moon", "research('moon')\nanswer('1969 [1]')")
    brain.on("fails", Fault.status(400, {"error": {"message": "not that"}}))

    def script(body: Body) -> Answer:
        return coder(body) if is_root(body) else brain(body)

    brain.on("slow", Reply("one two three", keep_open=True))
    pages = [result("https://moon.example/landing", "Moon", "In 1969.")]
    with OpenAIServer(script) as provider, ExaServer([pages]) as exa:
        home = Home(tmp_path / "home", provider, variables={"EXA_API_KEY": "made-up-exa-key", "EXA_BASE_URL": exa.url})
        try:
            acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in DEFAULT)
            os.setxattr(home.workspace, "system.posix_acl_default", acl)
        except OSError:
            pytest.skip("no access control lists here")
        with home.daemon() as daemon:
            home.save("exa_input.txt", "moon")
            home.save("fails_input.txt", "fails")
            home.save("slow_input.txt", "---\nstream: true\n---\nslow")
            home.save("sub/a_input.txt", "hello")
            daemon.answered("exa_output.txt")
            daemon.answered("sub/a_output.txt")
            daemon.wait("run.failed", path="fails_input.txt")
            home.appears("slow_output.partial.txt", "one")
            home.appears("fails_error.txt", "not that")
            home.save("rlmwatch.toml", 'host = "laptop#0badf00d"\n')
            home.appears("rlmwatch_status.txt", "stands by")
            files = [file for file in home.workspace.rglob("*") if file.is_file() and not file.name.startswith(".")]
            found = {
                file.relative_to(home.workspace).as_posix(): (may(file), file.stat().st_mode & 0o7) for file in files
            }
    for name in (
        "exa_sources.json", "exa_state.json", "exa_output.txt", "rlmwatch_status.txt", "rlmwatch.toml",
        "slow_output.partial.txt", "fails_error.txt", "sub/a_output.txt", "sub/a_state.json",
    ):  # fmt: skip
        assert name in found
    assert set(found.values()) == {(6, 0)}, found
