"""The user is told when a run is done: by a command, on the desktop, by a webhook; and nobody else can have it so."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers.hook_server import HookServer
from system.harness import KEY, Brain, Home

from rlmwatch.client import Client

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def program(home: Home, name: str, text: str) -> Path:
    """Put a program of the user's into their home."""
    file = home.root / name
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def teller(home: Home) -> Path:
    """A command that writes its environment, one line a call, into `told` in the user's home."""
    code = f"""#!{sys.executable} -S
import json, os
with open(os.environ["HOME"] + "/told", "a") as file:
    file.write(json.dumps({{**os.environ, "CWD": os.getcwd()}}) + "\\n")
"""
    return program(home, "teller", code)


def told(home: Home) -> list[dict[str, Any]]:
    file = home.root / "told"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_command_of_the_user_is_told_the_facts_and_no_key(home: Home, brain: Brain):
    """The command has file, status, answer, seconds and price in its environment, and no key; it may call rlmwatch."""
    home.variables = {"MY_OWN_TOKEN": "made-up-7391", "RLMWATCH_CHAT__TOKENS": "50"}
    home.set(f'notify_command = "{teller(home)} a b"\nnotify_after_s = 0\n')
    with home.daemon() as daemon:
        home.save("notes/a b_input.txt", "hello")
        daemon.wait("notify.done", path="notes/a b_input.txt")
        home.save("bad_input.txt", "---\ntokns: 1\n---\nhello")
        daemon.wait("notify.done", path="bad_input.txt")
    answered, failed = told(home)
    facts = {name: value for name, value in answered.items() if name.startswith("RLMWATCH_")}
    assert facts.pop("RLMWATCH_RUN").startswith("2")
    assert float(facts.pop("RLMWATCH_SECONDS")) >= 0
    assert float(facts.pop("RLMWATCH_PRICE_USD")) >= 0
    assert facts == {
        "RLMWATCH_FILE": str(home.workspace / "notes/a b_input.txt"),
        "RLMWATCH_STATUS": "complete",
        "RLMWATCH_OUTCOME": "success",
        "RLMWATCH_ANSWER": str(home.workspace / "notes/a b_output.txt"),
        "RLMWATCH_ERROR": "",
        "RLMWATCH_KIND": "chat",
        "RLMWATCH_FOLDER": str(home.workspace),
    }
    assert (failed["RLMWATCH_STATUS"], failed["RLMWATCH_ANSWER"]) == ("failed", "")
    assert "tokns" in failed["RLMWATCH_ERROR"]
    assert KEY not in json.dumps(told(home))
    assert "made-up-7391" not in json.dumps(told(home))
    assert answered["CWD"] == str(home.root)


def test_facts_are_no_settings(home: Home):
    """A command that is told may call rlmwatch: the variables of its facts are no settings."""
    home.variables = {"RLMWATCH_FILE": "x", "RLMWATCH_STATUS": "complete", "RLMWATCH_PRICE_USD": "0.1"}
    done = home.cli("status", "--json", "--workspace", str(home.workspace))
    assert done.returncode == 0, done.stderr


def test_a_short_run_is_not_told_and_a_failed_one_is(home: Home):
    """Of runs that took less than 20 seconds only those are told that failed."""
    home.set(f'notify_command = ["{teller(home)}"]\n')
    with home.daemon() as daemon:
        home.save("short_input.txt", "hello")
        daemon.answered("short_output.txt")
        home.save("bad_input.txt", b"\xff\xfe\xff")
        daemon.wait("notify.done", path="bad_input.txt")
    assert [each["RLMWATCH_FILE"] for each in told(home)] == [str(home.workspace / "bad_input.txt")]


def test_a_held_run_is_told_once_for_each_reason(home: Home):
    """A run that waits for its user is told once, also where it is released and held again for the same reason."""
    home.key = None
    home.set(f'notify_command = ["{teller(home)}"]\n')
    with home.daemon() as daemon:
        home.save("held_input.txt", "hello")
        daemon.wait("run.held", path="held_input.txt")
        daemon.wait("notify.done", path="held_input.txt")
        daemon.hup()
        daemon.wait("run.held", 2, path="held_input.txt")
        home.save("bad_input.txt", b"\xff\xfe\xff")
        daemon.wait("notify.done", path="bad_input.txt")
    assert [each["RLMWATCH_STATUS"] for each in told(home)] == ["held", "failed"]


def test_a_workspace_cannot_have_a_command_run(home: Home):
    """`notify_command` in the workspace's own file is an error, and nothing is run."""
    home.save("rlmwatch.toml", f'notify_command = ["{teller(home)}"]\nnotify_after_s = 0\n')
    home.save("a_input.txt", "hello")
    done = home.cli("run", "--once", str(home.workspace))
    assert done.returncode == 2
    assert "notify_command" in done.stderr
    assert told(home) == []


def test_a_command_that_fails_or_is_not_there_harms_no_run(home: Home):
    """What a command prints, that it fails, that it is missing, stands in the log; the answer comes all the same."""
    failing = program(home, "failing", '#!/bin/sh\necho "it is $OPENAI_API_KEY broken"; exit 3\n')
    home.set(f'notify_command = ["{failing}"]\nnotify_after_s = 0\n')
    with home.daemon() as daemon:
        home.save("a_input.txt", "hello")
        event = daemon.wait("notify.failed", path="a_input.txt")
        assert (event["why"], event["printed"]) == ("exit status 3", "it is  broken")
        home.set('notify_command = ["/nowhere/at/all"]\nnotify_after_s = 0\n')
        daemon.hup()
        home.save("b_input.txt", "hello")
        assert "FileNotFoundError" in daemon.wait("notify.failed", path="b_input.txt")["why"]
    assert home.read("b_output.txt") == "re: hello\n"


def test_many_runs_at_once_start_few_commands(home: Home):
    """At most four commands run at a time, and twenty in a minute: the rest is left out, and the log says so."""
    home.set(f'notify_command = ["{teller(home)}"]\nnotify_after_s = 0\n')
    with home.daemon() as daemon:
        for number in range(30):
            home.save(f"{number}_input.txt", "hello")
        daemon.wait("answer.written", 30)
        daemon.wait("notify.left_out")
    assert 1 <= len(told(home)) <= 20


def test_run_once_tells_too(home: Home):
    """`run --once` ends only when its commands have ended."""
    home.set(f'notify_command = ["{teller(home)}"]\nnotify_after_s = 0\n')
    home.save("a_input.txt", "hello")
    assert home.cli("run", "--once", str(home.workspace)).returncode == 0
    assert len(told(home)) == 1


SERVICE = """
import sys
from jeepney import DBusAddress, MessageType, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
with open_dbus_connection("SESSION") as bus:
    bus.send_and_get_reply(message_bus.RequestName("org.freedesktop.Notifications", 0))
    print("ready", flush=True)
    while True:
        message = bus.receive()
        if message.header.message_type is MessageType.method_call:
            print(repr(message.body), flush=True)
            bus.send(new_method_return(message, "u", (1,)))
"""


@contextmanager
def desktop() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a session bus with a desktop's notifications on it; yield its address, and what prints each of them."""
    bus = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--print-address"], stdout=subprocess.PIPE, text=True
    )
    assert bus.stdout is not None
    address = bus.stdout.readline().strip()
    environ = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": address}
    shown = subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True, env=environ)
    try:
        assert shown.stdout is not None
        assert shown.stdout.readline() == "ready\n"
        yield address, shown
    finally:
        for process in (shown, bus):
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="there is no dbus-daemon to make a desktop of")
def test_the_desktop_shows_that_a_run_is_done_and_nothing_of_its_words(home: Home):
    """With `notify = "desktop"` the desktop shows name and outcome, harmless as markup, and no word of either."""
    pytest.importorskip("jeepney")
    with desktop() as (address, shown):
        home.variables = {"DBUS_SESSION_BUS_ADDRESS": address}
        home.set('notify = "desktop"\nnotify_after_s = 0\n')
        with home.daemon() as daemon:
            home.save("a_input.txt", "hello & goodbye")
            daemon.answered("a_output.txt")
            assert shown.stdout is not None
            first = shown.stdout.readline()
            home.save("bad_input.txt", "---\ntokens: <b>\n---\nhello")
            second = shown.stdout.readline()
    assert "'a_input.txt'" in first
    assert "answered after" in first
    assert "goodbye" not in first
    assert "'bad_input.txt'" in second
    assert "no answer" in second
    assert "<b>" not in second


def test_without_a_desktop_the_log_says_so(home: Home):
    """Where there is no desktop to be reached the run is answered, and the log says why nothing was shown."""
    home.variables = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere/bus"}
    home.set('notify = "desktop"\nnotify_after_s = 0\n')
    with home.daemon() as daemon:
        home.save("a_input.txt", "hello")
        daemon.wait("notify.failed", path="a_input.txt")
    assert home.read("a_output.txt") == "re: hello\n"


def test_a_run_of_every_kind_reports_where_the_users_settings_say(home: Home):
    """With `url` under `[webhooks]` a chat and a job report their end, signed, though no file names a webhook."""
    with HookServer() as receiver:
        home.set(f'[webhooks]\nurl = "{receiver.url}"\nsecret = "{SECRET}"\n')
        with home.daemon() as daemon:
            home.save("a_input.txt", "a question")
            daemon.wait("webhook.delivered", path="a_input.txt")
            home.save("plan_job_input.txt", "a task")
            daemon.wait("webhook.delivered", path="plan_job_input.txt")
            Client(home.workspace).submit("a job")
            daemon.wait("webhook.delivered", 3)
            home.save("bad_input.txt", "---\ntokns: 1\n---\nhello")
            reports = receiver.wait(4)
    assert [each.values["data"]["kind"] for each in reports] == ["chat", "job", "job", "chat"]
    assert [each.values["data"]["input"] for each in reports][:2] == ["a_input.txt", "plan_job_input.txt"]
    assert reports[3].values["type"] == "job.failed"
    assert all(each.is_signed(SECRET) for each in reports)
    assert all(b"question" not in each.body for each in reports)


def test_only_the_named_kinds_report(home: Home):
    """With `kinds` under `[webhooks]` the other kinds report nothing."""
    with HookServer() as receiver:
        home.set(f'[webhooks]\nurl = "{receiver.url}"\nsecret = "{SECRET}"\nkinds = ["job"]\n')
        with home.daemon() as daemon:
            home.save("a_input.txt", "a question")
            daemon.answered("a_output.txt")
            home.save("plan_job_input.txt", "a task")
            daemon.wait("webhook.delivered", path="plan_job_input.txt")
        assert [each.values["data"]["kind"] for each in receiver.told] == ["job"]


def test_no_file_of_a_workspace_says_where_a_run_reports(home: Home):
    """A webhook in a head is passed over, one in `rlmwatch.toml` is an error, and the receiver hears nothing."""
    with HookServer() as receiver:
        home.set(f'[webhooks]\nallow = ["{receiver.place}"]\nsecret = "{SECRET}"\n')
        home.save("a_input.txt", f"---\nwebhook: {receiver.url}\n---\nhello")
        assert home.cli("run", "--once", str(home.workspace)).returncode == 0
        assert "webhook" in str(home.status_of("a_input.txt")["notes"])
        home.save("rlmwatch.toml", f'[webhooks]\nurl = "{receiver.url}"\n')
        done = home.cli("run", "--once", str(home.workspace))
        assert (done.returncode, "webhooks" in done.stderr) == (2, True)
        assert receiver.told == []


def test_an_address_without_a_secret_is_an_error(home: Home):
    """Reports are signed: `url` without `secret` is an error that says so."""
    home.set('[webhooks]\nurl = "http://127.0.0.1:9/hook"\n')
    done = home.cli("run", "--once", str(home.workspace))
    assert (done.returncode, "secret" in done.stderr) == (2, True)
