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
    assert config == '# my own words\nworkers = 3\nprovider = "openai"\nmodel = "test-model"\n\n[chat]\ntokens = 77\n'
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


# The model


def listing(*models: str) -> OpenAIServer:
    """Return a provider, to be entered, that lists *models* and answers with those alone."""

    def answer(body):
        known = body["model"] in models
        return "yes" if known else Fault.status(404, {"error": {"message": f"no model {body['model']}"}})

    return OpenAIServer(answer, models=models)


def config(home: Home) -> str:
    return (home.config / "config.toml").read_text()


@pytest.mark.parametrize(
    ("models", "taken"),
    [
        (("text-embedding-3", "gpt-4.1-mini-2025-04-14", "gpt-4.1-mini-2025-11-01"), "gpt-4.1-mini-2025-11-01"),
        (("o3", "models/gpt-4.1-mini"), "models/gpt-4.1-mini"),
        (("whisper-1", "llama-8b"), "llama-8b"),
        (("gpt-4.1-mini", "o3"), None),
    ],
)
def test_a_model_that_is_not_listed_is_replaced_by_the_nearest(home: Home, models: tuple[str, ...], taken: str | None):
    """Where the usual model is not in the provider's list, one that is near is taken, tested, stored and told."""
    with listing(*models) as server:
        home.provider = server
        done = setup(home, "--provider", "openai", "--key-file", "-", "--store", "file", "--no-folder", key=NEW_KEY)
        assert done.returncode == 0, done.stderr
        assert [call.body["model"] for call in server.calls] == [taken or "gpt-4.1-mini"]
        assert ("model =" in config(home)) == (taken is not None)
        assert taken is None or f'model = "{taken}"' in config(home)
        assert "is not among them" not in home.cli("doctor").stdout


def test_without_a_terminal_a_list_with_nothing_near_asks_for_a_flag(home: Home):
    """Where no listed model stands in for the usual one, the flag and the names are told, and nothing is stored."""
    before = files(home)
    with listing("alpha", "beta") as server:
        home.provider = server
        done = setup(home, "--provider", "openai", "--key-file", "-", key=NEW_KEY)
        assert done.returncode == 2
        assert "--model NAME, of: alpha, beta" in done.stderr
        assert files(home) == before
        done = setup(home, "--provider", "openai", "--key-file", "-", "--model", "beta", "--no-folder", key=NEW_KEY)
        assert done.returncode == 0, done.stderr
        assert 'model = "beta"' in config(home)


def test_at_a_terminal_a_model_of_the_list_is_asked_for(home: Home):
    """The list is shown, the nearest first; a number or a name of it is taken, and nothing else."""
    with listing("alpha", "gpt-4.1-mini-2025-04-14", "beta") as server:
        home.provider = server
        with terminal(sys.executable, "-m", "rlmwatch", "setup", cwd=home.root, env=home.environ()) as screen:
            for question, answer in (
                ("Number or name", "openai\n"),
                ("not shown", f"{NEW_KEY}\n"),
                ("[gpt-4.1-mini-2025-04-14]", "gamma\n"),
                ("gamma is not in the list", "beta\n"),
                ("beta (openai) answers", ""),
                ("Folder", "\n"),
            ):
                screen.see(question)
                screen.type(answer)
            assert screen.end() == 0
    assert 'model = "beta"' in config(home)


def test_what_was_for_another_provider_goes(home: Home, provider: OpenAIServer):
    """Model, sub-model and address of the provider before are taken out, and that is told; all else stays."""
    home.set('base_url = "http://127.0.0.1:9/v1"\nmodel = "old"\nsub_model = "older"\nworkers = 3\n')
    done = setup(home, "--provider", "openai", "--key-file", "-", "--store", "file", "--no-folder", key=NEW_KEY)
    assert done.returncode == 0, done.stderr
    assert "base_url, model, sub_model" in done.stderr
    assert config(home) == 'workers = 3\nprovider = "openai"\nmodel = "test-model"\n'


# A server of one's own, and Azure


@pytest.mark.parametrize("key", ["", NEW_KEY])
def test_a_server_of_ones_own_is_set_up_by_flags(home: Home, key: str):
    """Any address that speaks the protocol can be set up, with a key or without; a question is answered by it."""
    with OpenAIServer(["yes"], models=("alpha",)) as server:
        url = f"http://localhost:{server.port}/v1"
        flags = ("--key-file", "-", "--store", "file") if key else ()
        done = setup(home, "--base-url", url, *flags, "notes", key=key)
        assert done.returncode == 0, done.stderr
        assert key not in done.stderr or not key
        assert server.calls[-1].headers.get("authorization") == (f"Bearer {key}" if key else None)
        assert home.cli("run", "--once", str(home.root / "notes")).returncode == 0
        assert server.calls[-1].body["model"] == "alpha"
        assert server.calls[-1].headers.get("authorization") == (f"Bearer {key}" if key else None)


def test_a_server_of_ones_own_is_set_up_at_a_terminal(home: Home):
    """The menu offers an own address; a wrong one is asked for again; Enter alone says that it needs no key."""
    with OpenAIServer(["yes"], models=("alpha", "beta")) as server:
        with terminal(sys.executable, "-m", "rlmwatch", "setup", cwd=home.root, env=home.environ()) as screen:
            for question, answer in (
                ("Number or name", "own\n"),
                ("Its address, such as http", "\n127.0.0.1\n"),
                ("is not an address", f"http://localhost:{server.port}/v1\n"),
                ("Enter alone", "\n"),
                ("2  beta", "2\n"),
                ("answers", ""),
                ("Folder", "\n"),
            ):
                screen.see(question)
                screen.type(answer)
            assert screen.end() == 0
        assert screen.shown.count("is not an address") == 1  # Enter took no example
        assert "authorization" not in server.calls[-1].headers
    assert 'provider = "own"' in config(home)
    assert 'model = "beta"' in config(home)


def test_azure_is_set_up_by_flags(home: Home):
    """Azure takes an address and a deployment; its key goes into its own header."""
    with OpenAIServer(["yes"]) as server:
        flags = ("--provider", "azure", "--key-file", "-", "--store", "file", "--no-folder")
        done = setup(home, *flags, "--base-url", server.url, key=NEW_KEY)
        assert (done.returncode, "--deployment" in done.stderr) == (2, True)
        done = setup(home, *flags, "--base-url", server.url, "--deployment", "mine", key=NEW_KEY)
        assert done.returncode == 0, done.stderr
        assert server.calls[-1].body["model"] == "mine"
        assert server.calls[-1].headers["api-key"] == NEW_KEY
    assert 'deployment = "mine"' in config(home)
    assert NEW_KEY not in config(home)


# Leaving


def test_a_key_that_is_not_to_be_kept_ends_it(home: Home, brain):
    """Who does not keep a key that could not be tested is not asked once more; everything is as it was, and told so."""
    brain.on("Say yes", Fault.status(500))
    before = files(home)
    with terminal(sys.executable, "-m", "rlmwatch", "setup", cwd=home.root, env=home.environ()) as screen:
        for question, answer in (("Number or name", "openai\n"), ("not shown", f"{NEW_KEY}\n"), ("Keep this", "no\n")):
            screen.see(question)
            screen.type(answer)
        assert screen.end() != 0
    assert "nothing has been changed" in screen.shown
    assert screen.shown.count("not shown") == 1
    assert files(home) == before


@pytest.mark.parametrize("at", ["Number or name", "not shown", "Keep this", "Folder for your questions"])
@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_leaving_at_any_question_says_that_nothing_was_changed(home: Home, brain, at: str, key: str):
    """Ctrl+C and Ctrl+D at any question leave everything as it was, and say so."""
    if at == "Keep this":
        brain.on("Say yes", Fault.status(500))
    before = files(home)
    questions = (("Number or name", "openai\n"), ("not shown", f"{NEW_KEY}\n"), (at, ""))
    with terminal(sys.executable, "-m", "rlmwatch", "setup", cwd=home.root, env=home.environ()) as screen:
        for question, answer in questions:
            screen.see(question)
            if question == at:
                break
            screen.type(answer)
        until_it_reads(screen.process.pid)
        if key == "\x03":
            screen.process.send_signal(signal.SIGINT)  # the terminal is nobody's controlling one here
        else:
            screen.type(key)
        assert screen.end() == 130
    assert "nothing has been changed" in screen.shown
    assert "Traceback" not in screen.shown
    assert files(home) == before


def test_a_sub_model_of_who_answered_before_goes(home: Home, provider: OpenAIServer):
    """Where config.toml named no provider, what was for the one whose key was found does not go to the chosen one."""
    home.variables = {"OPENROUTER_API_KEY": "made-up-other-2c"}
    home.set('sub_model = "theirs"\nkey = "THEIR_KEY"\nworkers = 3\n')
    done = setup(home, "--provider", "openai", "--key-file", "-", "--store", "file", "--no-folder", key=NEW_KEY)
    assert done.returncode == 0, done.stderr
    assert config(home) == 'workers = 3\nprovider = "openai"\nmodel = "test-model"\n'


def test_a_daemon_that_does_not_say_is_not_said_to_have_taken_it_up(home: Home, provider: OpenAIServer):
    """Who presses Ctrl+C while a daemon is asked has stored everything; nothing is claimed of that daemon."""
    (home.root / "key").write_text(NEW_KEY)
    flags = ("--provider", "openai", "--key-file", str(home.root / "key"), "--store", "file", "--no-folder")
    command = (sys.executable, "-m", "rlmwatch", "setup", *flags)
    with home.daemon() as daemon:
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            with terminal(*command, cwd=home.root, env=home.environ()) as screen:
                screen.see("config.toml")
                until_it_reads(screen.process.pid)
                screen.process.send_signal(signal.SIGINT)
                assert screen.end() == 130
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        daemon.wait("reloaded")
    assert "taken it up" not in screen.shown
    assert "all of the above is stored" in screen.shown
    assert "OPENAI_API_KEY" in (home.config / ".env").read_text()


def test_one_daemon_of_several_folders_is_one(home: Home, provider: OpenAIServer):
    """`setup`, and `reload` outside of a workspace, ask a daemon once, however many folders it serves."""
    second = home.root / "second"
    second.mkdir()
    with home.daemon(
        program=["-m", "rlmwatch", "run", str(home.workspace), str(second), "--log-format", "json"]
    ) as daemon:
        for folder in (home.workspace, second):
            daemon.wait("ready", workspace=str(folder))
        done = setup(home, "--provider", "openai", "--key-file", "-", "--store", "file", "--no-folder", key=NEW_KEY)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("taken it up") == 1
        assert f"{second}, {home.workspace} has taken it up" in done.stderr
        again = home.cli("reload")
        assert again.returncode == 0, again.stderr
        assert "settings and keys were read again" in again.stderr
