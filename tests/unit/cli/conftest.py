"""A person's workspace with answered, failed and held runs, in a home of its own; and a terminal of so many columns."""

from __future__ import annotations

import asyncio
import sys

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.stores import ledger_of
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import Outcome, PaidCall, Result, RunStatus, Save, Usage
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.publish import publish
from rlmwatch.workspace.status import DaemonProcess, StatusBoard

AT = "2026-11-24T09:00:0{}.000Z"
BEANS = "When do I sow beans in Hamburg, and how deep, and how far apart, if last summer was as wet as it was?"
REPLY = "I count them.\n\n```python\nprint(len(context))\n```\n"
BY = DaemonProcess("here", 1)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home: its own settings, state and current folder."""
    for name in ("config", "state", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("RLMWATCH_WORKSPACE", "RLMWATCH_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def terminal(monkeypatch):
    """Make standard output a terminal of so many columns."""

    def of(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    return of


@pytest.fixture
def workspace(home):
    """A chat that was answered for 0.02 USD, one that failed, one that is held, and a job of one step."""
    root = home / "notes"
    root.mkdir()
    (root / "rlmwatch.toml").write_text("")
    asyncio.run(_filled(locate(root)))
    return root


async def _filled(paths):
    ledger = ledger_of(paths)
    root = Root.open(paths.root)
    try:
        await _ended(ledger, root, "garden/beans", BEANS, Outcome.SUCCESS, answer="In May.", usd=0.02)
        await _ended(
            ledger, root, "wrong", "日本語の質問です。東京の人口はどれくらいですか" * 2, Outcome.PROVIDER_ERROR
        )
        await _ended(ledger, root, "count", "How many?", Outcome.SUCCESS, answer="1892", usd=0.001, kind=Kind.JOB)
        held = await _claimed(ledger, "peas", "And peas?")
        held = await ledger.hold(held.run_id, held.attempt, "no key: set OPENAI_API_KEY", now=AT.format(3))
        StatusBoard(root, BY).update(held, now=AT.format(3))
    finally:
        await ledger.aclose()


async def _claimed(ledger, conversation, prompt, kind=Kind.CHAT):
    path = f"{conversation}{'_job' if kind is Kind.JOB else ''}_input.txt"
    save = Save(path, kind, conversation, prompt, {}, f"sha256:{conversation}")
    run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=AT.format(0))).run
    return await ledger.claim(run.run_id, now=AT.format(1))


async def _ended(ledger, root, conversation, prompt, outcome, *, answer=None, usd=None, kind=Kind.CHAT):
    run = await _claimed(ledger, conversation, prompt, kind)
    (root.path / run.path).parent.mkdir(exist_ok=True)
    (root.path / run.path).write_text(prompt, encoding="utf-8")
    usage = Usage(800, 12, usd, 1) if usd is not None else Usage()
    if usd is not None:
        call = PaidCall("/1/ab/1", "llm", "small", {"messages": []}, 100, usd)
        await ledger.intend(run.run_id, 1, call, ceilings=Ceilings(per_day_usd=None), now=AT.format(1))
        await ledger.record(run.run_id, "/1/ab/1", {"text": REPLY}, usage, now=AT.format(2))
    if kind is Kind.JOB:
        step = StepRecord("", 1, 1, "print(len(context))", "1892", "ok", None, usage, AT.format(1), 0.5, 0.0)
        await ledger.step(run.run_id, step)
    status = RunStatus.COMPLETE if answer else RunStatus.FAILED
    error = None if answer else "the provider: refused by policy"
    result = Result(status, outcome, answer, error=error, usage=usage, model="small")
    run = await ledger.finish(run.run_id, 1, result, now=AT.format(4))
    publish(root, run, by=BY, now=AT.format(5))
    await ledger.published(run.run_id)
