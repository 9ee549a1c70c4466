"""Real editors save an input; the answer arrives."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer
from system.household import DEADLINE_S, Daemon, Home, question

ESC = b"\x1b"
EDITORS = {
    # program: (arguments, keys that write "Hello from <program>." as the second line, save and quit)
    "vim": (["-u", "NONE", "-N"], b"oHello from vim." + ESC + b":wq\r"),
    "nvim": (["-u", "NONE", "-i", "NONE"], b"oHello from nvim." + ESC + b":wq\r"),
    "nano": (["--ignorercfiles"], b"\x1b[BHello from nano." + b"\x0f\r" + b"\x18"),
    "ed": (["-s"], b"a\nHello from ed.\n.\nw\nq\n"),
}


def need(program: str) -> str:
    """Return where *program* is; skip where it is missing."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def type_into(command: list[str], keys: bytes) -> int:
    """Run *command* on a terminal of its own, type *keys* once it has drawn something, and return its exit status."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", "HOME": str(Path(command[-1]).parent), "LANG": "C.UTF-8"},
    )
    os.close(follower)
    typed = False
    try:
        while True:
            if not select.select([leader], [], [], DEADLINE_S)[0]:
                raise AssertionError(f"{command[0]} draws nothing and does not end")
            try:
                drawn = os.read(leader, 65536)
            except OSError:  # EIO: the other end is closed, since the program has ended
                break
            if not drawn:
                break
            if not typed:
                os.write(leader, keys)
                typed = True
        return process.wait(DEADLINE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(DEADLINE_S)
        os.close(leader)


@pytest.mark.parametrize("program", EDITORS)
def test_what_an_editor_saves_is_answered_once(home: Home, provider: OpenAIServer, program: str):
    """A file that is edited and saved in a real editor is asked whole and once; its swap and backup files are not."""
    editor = need(program)
    arguments, keys = EDITORS[program]
    home.save("letter_input.txt", "Dear folder,\n")
    with home.daemon() as daemon:
        daemon.answered("letter_output.txt")
        edit(editor, arguments, keys, home.workspace / "letter_input.txt")
        daemon.answered("letter_output.txt", 2)
        check_nothing_else(home, daemon)
    asked = [question(call.body) for call in provider.calls]
    assert asked == ["Dear folder,\n", f"Dear folder,\nHello from {program}.\n", "the end"]


def edit(editor: str, arguments: list[str], keys: bytes, file: Path) -> None:
    """Edit *file* with keys on a terminal, or with commands on standard input where the editor needs no screen."""
    command = [editor, *arguments, str(file)]
    if Path(editor).name == "ed":
        subprocess.run(command, input=keys, check=True, timeout=DEADLINE_S, capture_output=True)
    else:
        assert type_into(command, keys) == 0


def check_nothing_else(home: Home, daemon: Daemon) -> None:
    """Wait for a later save, so that a second run of the edited file would have been seen before it."""
    home.save("the_end_input.txt", "the end")
    daemon.answered("the_end_output.txt")
