"""`rlmwatch setup`: a provider and its key, asked for at a terminal or told by flags; tested, stored, taken up."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers.openai_server import Fault, OpenAIServer
from system.harness import POLL_S, Home
from system.terminal import terminal

from rlmwatch import clock

NEW_KEY = "made-up-new-key-4f1c9a'\\$x"
"""With what a shell, or a file of variables, would take for something else."""
DEADLINE_S = 60.0


@pytest.fixture
def home(home: Home) -> Home:
    """A person who has no key yet."""
    home.key = None
    return home


def setup(home: Home, *flags: str, key: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rlmwatch", "setup", *flags],
        input=key,
        env=home.environ(),
        cwd=home.root,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def files(home: Home) -> dict[str, bytes]:
    """Everything that lies in the person's home."""
    return {str(file.relative_to(home.root)): file.read_bytes() for file in home.root.rglob("*") if file.is_file()}


def test_a_key_from_standard_input_is_tested_and_stored_for_its_user_alone(home: Home, provider: OpenAIServer):
    """Without a terminal the flags say all; the key is tested with one token, and kept in a file of mode 0600."""
    (home.config / ".env").write_text("# mine\nOTHER=1\nOPENAI_API_KEY=old\n")
    home.set("# my own words\nworkers = 3\n\n[chat]\ntokens = 77\n")
    done = setup(home, "--provider", "openai", "--key-file", "-", "--store", "file", "notes", key=NEW_KEY + "\n")
    assert done.returncode == 0, done.stderr
    assert NEW_KEY not in done.stdout + done.stderr
    (call,) = provider.calls
    assert call.headers["authorization"] == f"Bearer {NEW_KEY}"
    assert call.body.get("max_tokens", call.body.get("max_completion_tokens")) == 1
    env = home.config / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert env.read_text().startswith("# mine\nOTHER=1\n")
    assert "old" not in env.read_text()
    config = (home.config / "config.toml").read_text()
    assert config == '# my own words\nworkers = 3\nprovider = "openai"\n\n[chat]\ntokens = 77\n'
    assert (home.root / "notes" / "chat_input.txt").exists()
    assert home.cli("run", "--once", str(home.root / "notes")).returncode == 0
    assert provider.calls[-1].headers["authorization"] == f"Bearer {NEW_KEY}"


@pytest.mark.parametrize("code", [401, 403])
def test_a_key_that_is_refused_is_not_stored(home: Home, provider: OpenAIServer, brain, code: int):
    """A key that the provider refuses is said to be refused; nothing is stored, and it is shown nowhere."""
    brain.on("Say yes", Fault.status(code, {"error": {"message": f"Incorrect API key provided: {NEW_KEY}"}}))
    before = files(home)
    done = setup(home, "--provider", "openai", "--key-file", "-", "notes", key=NEW_KEY)
    assert done.returncode != 0
    assert "refused" in done.stderr
    assert NEW_KEY not in done.stderr
    assert "Traceback" not in done.stderr
    assert files(home) == before


@pytest.mark.parametrize("key", ["", " \n", "two words\n", "smart\u201cquotes\u201d\n"])
def test_what_cannot_be_a_key_is_not_stored(home: Home, key: str):
    """Nothing, blanks and letters that no key has are told in words; nothing is sent or stored."""
    before = files(home)
    done = setup(home, "--provider", "openai", "--key-file", "-", key=key)
    assert done.returncode == 2
    assert "OPENAI_API_KEY" in done.stderr
    assert files(home) == before


@pytest.mark.parametrize(
    "flags", [(), ("--provider", "openai"), ("--provider", "openia"), ("--provider", "openai", "--key-file", "nowhere")]
)
def test_without_a_terminal_nothing_is_asked(home: Home, flags: tuple[str, ...]):
    """Where there is no terminal and a flag is missing or wrong, one line says which; nothing is stored."""
    before = files(home)
    done = setup(home, *flags)
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 2
    assert files(home) == before


def test_a_provider_that_cannot_be_reached_is_said_to_be(home: Home):
    """A network that is down is told as such, and nothing is stored."""
    home.variables = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    before = files(home)
    done = setup(home, "--provider", "openai", "--key-file", "-", key=NEW_KEY)
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert files(home) == before


def test_a_running_daemon_takes_the_key_up_without_a_restart(home: Home, provider: OpenAIServer):
    """A question that was held for want of a key is answered as soon as setup has stored one."""
    with home.daemon() as daemon:
        home.save("a_input.txt", "hello")
        daemon.wait("run.held", path="a_input.txt")
        done = setup(home, "--provider", "openai", "--key-file", "-", "--no-folder", key=NEW_KEY)
        assert done.returncode == 0, done.stderr
        daemon.answered("a_output.txt")
    assert provider.calls[-1].headers["authorization"] == f"Bearer {NEW_KEY}"


def test_at_a_terminal_the_key_is_asked_for_and_never_shown(home: Home, brain):
    """Provider, key and folder are asked; a refused key may be entered again; no key is ever on the screen."""
    brain.on("Say yes", Fault.status(401, {"error": {"message": "Incorrect API key"}}), "yes")
    with terminal(sys.executable, "-m", "rlmwatch", "setup", cwd=home.root, env=home.environ()) as screen:
        screen.see("Number or name")
        screen.type("openai\n")
        screen.see("not shown")
        screen.type("made-up-wrong-1f\n")
        screen.see("refused")
        screen.see("not shown", 2)
        screen.type(f"{NEW_KEY}\n")
        screen.see("Folder for your questions")
        screen.type("\n")
        assert screen.end() == 0
    assert "made-up" not in screen.shown
    assert (home.root / "questions" / "rlmwatch.toml").exists()
    assert home.cli("run", "--once", str(home.root / "questions")).returncode == 0


def until_it_reads(pid: int) -> None:
    """Wait until the program *pid* sleeps: Python misses a signal just before a read that blocks."""
    give_up, asleep = clock.monotonic() + DEADLINE_S, 0
    while asleep < 10:
        assert clock.monotonic() < give_up
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" else 0
        time.sleep(POLL_S)


@pytest.mark.parametrize("at", ["Number or name", "not shown", "Folder for your questions"])
def test_ctrl_c_changes_nothing(home: Home, at: str):
    """Who stops setup at any of its questions finds everything as it was."""
    before = files(home)
    with terminal(sys.executable, "-m", "rlmwatch", "setup", cwd=home.root, env=home.environ()) as screen:
        for question, answer in (("Number or name", "openai\n"), ("not shown", f"{NEW_KEY}\n"), ("Folder", "")):
            screen.see(question)
            if question in at:
                break
            screen.type(answer)
        until_it_reads(screen.process.pid)
        screen.process.send_signal(signal.SIGINT)
        assert screen.end() == 130
    assert "Traceback" not in screen.shown
    assert files(home) == before


def test_a_folder_that_cannot_be_one_is_refused_before_anything_is_stored(home: Home):
    """A file in the folder's place, or a folder inside another workspace, is refused; nothing is stored."""
    home.save("rlmwatch.toml", 'host = "me"\n')
    (home.root / "file").write_text("x")
    before = files(home)
    for folder in ("file", str(home.workspace / "inside")):
        done = setup(home, "--provider", "openai", "--key-file", "-", folder, key=NEW_KEY)
        assert done.returncode != 0
        assert files(home) == before


def test_a_key_that_is_there_already_is_used(home: Home):
    """A key that was found is tested and left where it is."""
    home.key = "made-up-key-7f3a9c51d2"
    done = setup(home, "--provider", "openai", "--no-folder")
    assert done.returncode == 0, done.stderr
    assert "environment" in done.stderr
    assert not (home.config / ".env").exists()


def test_a_key_that_another_place_hides_is_told(home: Home):
    """Where the environment has another key, which goes before the stored one, that is told."""
    home.key = "made-up-key-7f3a9c51d2"
    done = setup(home, "--provider", "openai", "--no-folder", "--key-file", "-", "--store", "file", key=NEW_KEY)
    assert done.returncode == 0, done.stderr
    assert "goes before it" in done.stderr


def test_a_keyring_that_works_keeps_the_key(home: Home):
    """Where a system keyring works, the key lies there and in no file."""
    (home.root / "fake_ring.py").write_text(
        "import json, os, pathlib\n"
        "from keyring.backend import KeyringBackend\n"
        "class Ring(KeyringBackend):\n"
        "    priority = 9\n"
        "    file = pathlib.Path(os.environ['HOME'], 'ring')\n"
        "    def get_password(self, service, name):\n"
        "        kept = json.loads(self.file.read_text()) if self.file.exists() else {}\n"
        "        return kept.get(f'{service}/{name}')\n"
        "    def set_password(self, service, name, password):\n"
        "        self.file.write_text(json.dumps({f'{service}/{name}': password}))\n"
    )
    pytest.importorskip("keyring")
    ring = {"PYTHON_KEYRING_BACKEND": "fake_ring.Ring"}
    home.variables = {**ring, "PYTHONPATH": f"{home.root}:{home.environ()['PYTHONPATH']}"}
    done = setup(home, "--provider", "openai", "--no-folder", "--key-file", "-", key=NEW_KEY)
    assert done.returncode == 0, done.stderr
    assert "keyring" in done.stderr
    assert "rlmwatch/OPENAI_API_KEY" in Path(home.root, "ring").read_text()
    assert not (home.config / ".env").exists()
