"""A daemon that runs and settings that change: `rlmwatch.toml` by itself, the user's own with `rlmwatch reload`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from system.harness import Home

MARKED = 'ready_marker = "//send"\n'


@pytest.fixture
def file(home: Home) -> Path:
    return home.workspace / "rlmwatch.toml"


def status(home: Home) -> dict:
    done = home.cli("status", "--workspace", str(home.workspace), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_changed_workspace_file_is_taken_up_without_being_asked(home: Home, file: Path):
    """A ready marker that is written into rlmwatch.toml while the daemon runs holds soon, without a reload."""
    with home.daemon() as daemon:
        file.write_text(file.read_text() + MARKED)
        (said,) = daemon.wait("reloaded")["changed"]
        assert said == 'ready_marker = "//send"'
        home.save("chat_input.txt", "not yet")
        daemon.wait("save.skipped", path="chat_input.txt")
        assert home.provider.calls == []
        home.save("chat_input.txt", "now\n//send\n")
        daemon.answered("chat_output.txt")
        assert len(daemon.seen("reloaded")) == 1


def test_what_the_daemon_writes_itself_reloads_nothing(home: Home, file: Path):
    """The name of the host, which the first daemon writes into the file, is no change of settings."""
    file.write_text(MARKED)
    with home.daemon() as daemon:
        daemon.wait("owner.host_written")
        file.write_text(file.read_text() + "name_notes = false\n")
        daemon.wait("reloaded")
        assert len(daemon.seen("reloaded")) == 1


def test_an_emptied_file_that_is_written_at_once_is_never_taken_up_empty(home: Home, file: Path):
    """An editor that empties the file before it writes it does not take the marker away in between."""
    with home.daemon() as daemon:
        file.write_text(MARKED)
        daemon.wait("reloaded")
        for tokens in (70, 71):
            file.write_text("")
            file.write_text(f"{MARKED}[chat]\ntokens = {tokens}\n")
        assert daemon.wait("reloaded", 2)["changed"] == ["chat.tokens = 71"]


def test_a_missing_file_changes_nothing(home: Home, file: Path):
    """A disk that is away for a moment takes no marker away: a removed file holds until the next reload."""
    file.write_text(MARKED)
    with home.daemon() as daemon:
        file.unlink()
        home.save("chat_input.txt", "hello")
        daemon.wait("save.skipped", path="chat_input.txt")
        file.write_text(f"{MARKED}name_notes = false\n")
        daemon.wait("reloaded")
        assert home.provider.calls == []


def test_status_judges_by_what_the_daemon_works_with(home: Home):
    """What is asked is judged as the daemon does; that the user's own file has changed since is said, with the cure."""
    with home.daemon() as daemon:
        home.save("chat_input.txt", "hello")
        daemon.answered("chat_output.txt")
        assert status(home)["warnings"] == []
        home.set(MARKED)
        found = status(home)
        assert found["not_asked"] == []
        (warning,) = found["warnings"]
        assert "config.toml has changed" in warning
        assert f"rlmwatch reload {home.workspace}" in warning
        done = home.cli("doctor", str(home.workspace))
        assert "config.toml has changed" in done.stdout
        daemon.hup()
        found = status(home)
        assert found["warnings"] == []
        home.save("b_input.txt", "hello")
        daemon.wait("save.skipped", path="b_input.txt")
        (not_asked,) = status(home)["not_asked"]  # what was answered before there was a marker is none
        assert not_asked["path"] == "b_input.txt"
        assert "//send" in not_asked["because"]


def test_reload_says_what_changed(home: Home):
    """`rlmwatch reload` waits for the daemon, and prints what is another now, and what answers; never a secret."""
    with home.daemon():
        home.set('workers = 2\nmodel = "gpt-4.1"\n[providers.own]\nbase_url = "http://me:made-up@127.0.0.1:1/v1"\n')
        done = home.cli("reload", str(home.workspace))
        assert done.returncode == 0, done.stderr
        assert "workers = 2" in done.stderr
        assert 'model = "gpt-4.1"' in done.stderr
        assert "gpt-4.1 (openai)" in done.stderr
        assert "made-up" not in done.stderr
        done = home.cli("reload", str(home.workspace))
        assert "nothing in the settings" in done.stderr


@pytest.mark.parametrize(
    ("text", "line"), [("\nworkers = -1\n", 2), ("[chat]\n\ntokns = 1\n", 3), ("a = 1\nb = \n", 2), ("x = 1\n", 1)]
)
def test_reload_says_what_is_wrong_and_in_which_line(home: Home, text: str, line: int):
    """A wrong setting is named with its file and its line, status 2; the last good settings stay."""
    with home.daemon() as daemon:
        home.set(text)
        done = home.cli("reload", str(home.workspace))
        assert done.returncode == 2
        assert "config.toml" in done.stderr
        assert f"line {line}" in done.stderr
        assert daemon.seen("reloaded") == []


def test_what_only_the_daemon_finds_wrong_is_told(home: Home):
    """Where the daemon's own environment makes the settings wrong, reload says so in its place, status 2."""
    home.variables = {"RLMWATCH_CEILINGS__MAX_COST_USD_PER_DAY": "0.5"}
    with home.daemon() as daemon:
        home.variables = {}
        home.set("[ceilings]\nmax_cost_usd_per_run = 0.9\n")
        done = home.cli("reload", str(home.workspace))
        assert done.returncode == 2
        assert "max_cost_usd_per_run" in done.stderr
        assert daemon.seen("reload.failed")


def test_reload_outside_of_a_workspace_takes_the_only_daemon(home: Home):
    """Without a folder the only daemon of this user is meant; without any, that is said, status 2."""
    done = home.cli("reload")
    assert done.returncode == 2
    assert "no daemon of yours" in done.stderr
    with home.daemon() as daemon:
        done = home.cli("reload")
        assert done.returncode == 0, done.stderr
        assert str(home.workspace) in done.stderr
        daemon.wait("reloaded")


def test_reload_outside_of_a_workspace_asks_which_of_several(home: Home):
    """Of several daemons none is reloaded: they are listed, status 2."""
    first = home.workspace
    with home.daemon() as one:
        other = Home(home.root, home.provider)
        second = home.root / "second"
        second.mkdir()
        with other.daemon(program=["-m", "rlmwatch", "run", str(second), "--log-format", "json"]) as two:
            done = home.cli("reload")
            assert done.returncode == 2
            assert str(first) in done.stderr
            assert str(second) in done.stderr
            assert one.seen("reloaded") == two.seen("reloaded") == []


def test_a_broken_own_file_does_not_end_a_daemon_whose_workspace_file_changes(home: Home, file: Path):
    """While the user's config.toml is wrong, a change of rlmwatch.toml is not taken up, is told, and ends nothing."""
    with home.daemon() as daemon:
        home.set("workers = -1\n")
        file.write_text(MARKED)
        assert "workers" in daemon.wait("reload.failed")["why"]
        home.save("chat_input.txt", "hello")
        daemon.answered("chat_output.txt")


def test_a_reload_keeps_the_rate_limit(home: Home):
    """A reload that changes nothing does not begin the minute of `requests_per_minute` afresh."""
    home.set("[models]\nrequests_per_minute = 1\n")
    with home.daemon() as daemon:
        home.save("a_input.txt", "one")
        daemon.answered("a_output.txt")
        daemon.hup()
        home.save("b_input.txt", "two")
        daemon.wait("rate_limit.waiting")
        assert home.provider.count == 1
        daemon.kill()
