"""The files that a person names: which are opened, and what is said of those that cannot be."""

from __future__ import annotations

import asyncio
import json
import os
import socket

import pytest

from rlmwatch.cli import main
from rlmwatch.cli.again import again
from rlmwatch.cli.answer import answer
from rlmwatch.cli.branch import branch
from rlmwatch.cli.init import init
from rlmwatch.cli.submit import submit
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.text import digest
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.stores import ledger_of
from rlmwatch.errors import UsageError, WorkspaceError
from rlmwatch.runs.model import Outcome, Result, RunStatus, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.publish import publish
from rlmwatch.workspace.status import DaemonProcess

BEANS = "garden/beans_input.txt"


def known(workspace):
    """Return what the ledger has of the question about beans."""

    async def ask():
        ledger = ledger_of(locate(workspace))
        try:
            return (await ledger.known()).get(BEANS)
        finally:
            await ledger.aclose()

    return asyncio.run(ask())


def replaced_by_a_link(file, secret):
    file.unlink()
    file.symlink_to(secret)


def replaced_by_a_pipe(file, secret):
    file.unlink()
    os.mkfifo(file)


def replaced_by_a_socket(file, secret):
    file.unlink()
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(file))


def in_a_linked_folder(file, secret):
    elsewhere = secret.parent / "elsewhere"
    file.parent.rename(elsewhere)
    file.parent.symlink_to(elsewhere)


@pytest.fixture(params=[replaced_by_a_link, replaced_by_a_pipe, replaced_by_a_socket, in_a_linked_folder])
def strange(request, workspace):
    """The file of an answered question, in whose place somebody has put something else."""
    secret = workspace.parent / "secret.txt"
    secret.write_text("my password")
    request.param(workspace / BEANS, secret)
    return workspace


def test_a_branch_reads_no_link_and_waits_for_no_pipe(strange):
    """What stands in the place of a question is not copied into a new one, and the verb ends at once."""
    with pytest.raises((UsageError, WorkspaceError)):
        branch(strange / BEANS, "idea", workspace=strange)
    assert not list(strange.rglob("idea_*"))


def test_again_forgets_nothing_where_it_cannot_save(strange):
    """The error names the file, and the question is known as before: a later save of the same bytes asks nothing."""
    before = known(strange)
    assert before is not None
    named = next(strange.glob("jobs/*-chat-*.json"))
    run = next(each for each in strange.glob("jobs/*.json") if json.loads(each.read_text())["input"] == BEANS)
    with pytest.raises(WorkspaceError, match=r"beans_input\.txt"):
        again(run.stem, workspace=strange)
    assert named.exists()
    assert known(strange) == before


def test_again_of_a_file_that_is_gone_forgets_nothing(workspace):
    """There is nothing to be asked; the same bytes, put back, are the question that was answered."""
    before = known(workspace)
    (workspace / BEANS).unlink()
    run = next(each for each in workspace.glob("jobs/*.json") if json.loads(each.read_text())["input"] == BEANS)
    with pytest.raises(UsageError, match="no such file"):
        again(run.stem, workspace=workspace)
    assert known(workspace) == before


@pytest.mark.parametrize("option", ["file", "data"])
def test_a_link_out_of_the_workspace_is_not_handed_in(workspace, option):
    """Whoever writes in the folder could have made the link: what it leads to is sent to nobody."""
    (workspace.parent / "secret.txt").write_text("my password")
    (workspace / "table.csv").symlink_to(workspace.parent / "secret.txt")
    words = () if option == "file" else ("Count",)
    with pytest.raises(UsageError, match="link"):
        submit(
            *words,
            workspace=workspace,
            **{option: (workspace / "table.csv") if option == "file" else str(workspace / "table.csv")},
        )
    assert not [each for each in workspace.glob("jobs/*.json") if "password" in each.read_text()]


def test_the_sample_is_not_written_through_a_link(home):
    """A folder of the sample that is a link already is an error, and what it leads to stays as it is."""
    root, elsewhere = home / "w", home / "elsewhere"
    for folder in (root, elsewhere):
        folder.mkdir()
    sample = init(root, sample=True) == 0 and [path for path in root.iterdir() if path.is_dir()]
    for folder in sample:
        for file in sorted(folder.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        folder.rmdir()
        folder.symlink_to(elsewhere)
    with pytest.raises(WorkspaceError, match="link"):
        init(root, sample=True)
    assert list(elsewhere.iterdir()) == []


LONG = "x" * 300
NAMED = [
    ("answer", "{}_input.txt"),
    ("again", "{}_input.txt"),
    ("undo", "{}_input.txt"),
    ("branch", "{}_input.txt", "new"),
    ("show", "{}_input.txt"),
    ("status", "-w", "{}"),
    ("runs", "-w", "{}"),
    ("costs", "{}"),
    ("init", "{}"),
    ("run", "{}"),
    ("submit", "-w", "{}", "hi"),
    ("submit", "--file", "{}", "-w", "."),
    ("presets", "-w", "{}"),
    ("reload", "{}"),
    ("service", "install", "--launchd", "{}"),
]


@pytest.mark.parametrize("words", NAMED, ids=" ".join)
@pytest.mark.parametrize(("name", "cause"), [(LONG, "too long"), ("loop/a/b", "symbolic links")])
def test_a_name_that_no_file_can_have_is_said_with_its_cause(home, capsys, words, name, cause):
    """A name that is too long and links that lead round in a circle: the error names the file and says what it is."""
    (home / "here" / "loop").mkdir()
    (home / "here" / "loop" / "a").symlink_to("a")
    assert main._run([word.format(name) for word in words]) == main.CALLED_WRONGLY
    said = capsys.readouterr().err
    assert name[:20] in said
    assert cause in said or "no such run" in said
    assert "output" not in said


async def failed(workspace, raw):
    ledger = ledger_of(locate(workspace))
    try:
        save = Save("old_input.txt", Kind.CHAT, "old", raw.decode(), {}, digest(raw))
        run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now="2026-11-24T09:00:00.000Z")).run
        await ledger.claim(run.run_id, now="2026-11-24T09:00:01.000Z")
        result = Result(RunStatus.FAILED, Outcome.PROVIDER_ERROR, error="refused by policy")
        run = await ledger.finish(run.run_id, 1, result, now="2026-11-24T09:00:02.000Z")
        publish(Root.open(workspace), run, by=DaemonProcess("here", 1), now="2026-11-24T09:00:03.000Z")
        await ledger.published(run.run_id)
    finally:
        await ledger.aclose()


def test_an_answer_that_failed_earlier_was_not_asked_now(home, monkeypatch, capsys):
    """The same bytes start nothing, also after a failure: `asked` is false, and the last line says when it failed."""
    root = home / "notes"
    root.mkdir()
    (root / "old_input.txt").write_bytes(b"What?\n")
    asyncio.run(failed(root, b"What?\n"))
    monkeypatch.setenv("OPENAI_API_KEY", "made-up")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert answer(root / "old_input.txt", as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["status"], found["asked"]) == ("failed", False)
    assert answer(root / "old_input.txt") == 1
    assert "nothing was asked, nothing spent · failed 2026-11-24" in capsys.readouterr().err
