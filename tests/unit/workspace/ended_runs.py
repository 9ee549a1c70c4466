"""Runs that have ended, and what their publishing leaves, for the tests of `publish`."""

from __future__ import annotations

import json
from dataclasses import replace

from rlmwatch.contract.kinds import Kind
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Usage
from rlmwatch.workspace.publish import NOTHING_LATER, publish
from rlmwatch.workspace.status import DaemonProcess

ME = DaemonProcess("den", 4242)
NOW = "2026-11-23T09:15:10.000Z"
FIRST = Run(
    run_id="20261123T091500Z-chat-7f3a9c",
    seq=1,
    path="notes/plan_input.md",
    kind=Kind.CHAT,
    conversation="notes/plan",
    prompt="What now?",
    options={},
    digest="sha256:1",
    status=RunStatus.COMPLETE,
    created_at="2026-11-23T09:15:00.000Z",
    started_at="2026-11-23T09:15:01.000Z",
    completed_at="2026-11-23T09:15:09.000Z",
    attempt=1,
    result=Result(RunStatus.COMPLETE, Outcome.SUCCESS, "Rest.", usage=Usage(8, 2, 0.5, 1), model="m"),
)
LATER = replace(
    FIRST,
    run_id="20261123T101500Z-chat-000001",
    seq=2,
    prompt="And then?",
    digest="sha256:2",
    created_at="2026-11-23T10:15:00.000Z",
    result=replace(FIRST.result, answer="Work."),
)
OUTPUT, STATE, ERROR, PARTIAL = (
    f"notes/plan_{end}" for end in ("output.md", "state.json", "error.txt", "output.partial.md")
)


def failed(run, error="no key: set OPENAI_API_KEY"):
    result = Result(RunStatus.FAILED, Outcome.PROVIDER_ERROR, error=error)
    return replace(run, status=RunStatus.FAILED, result=result)


def put(root, run, by=ME, later=NOTHING_LATER):
    return publish(root, run, later=later, by=by, now=NOW)


def text(root, path):
    return (root.path / path).read_text(encoding="utf-8")


def said(root, run):
    return json.loads(text(root, f"jobs/{run.run_id}.json"))


def turns(root):
    return json.loads(text(root, STATE))["turns"]


def everything(root):
    return {
        str(path.relative_to(root.path)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in root.path.rglob("*")
        if path.is_file()
    }
