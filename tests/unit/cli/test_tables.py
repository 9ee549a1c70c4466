"""What the verbs print for people: one line a row within the terminal, whole lines into a pipe."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading

import pytest
from rich.cells import cell_len
from unit.cli.conftest import BEANS

from rlmwatch import clock
from rlmwatch.cli.costs import costs
from rlmwatch.cli.doctor import doctor
from rlmwatch.cli.report import Line, arranged, verdict
from rlmwatch.cli.runs import runs
from rlmwatch.cli.show import show
from rlmwatch.cli.status import status
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.stores import ledger_of
from rlmwatch.runs.costs import CostsBy
from rlmwatch.workspace.atomic import PREFIX, SUFFIX
from rlmwatch.workspace.owner import Lock


def printed(capsys):
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize("columns", [80, 120])
def test_runs_are_one_line_each_within_the_terminal(workspace, terminal, capsys, columns):
    """Short id, age, status, input, first words of the question and cost stand on one line, whatever the language."""
    terminal(columns)
    runs(workspace)
    head, *rows = printed(capsys)
    assert head.split() == ["id", "age", "status", "input", "question", "cost"]
    assert len(rows) == 4
    assert all(cell_len(row) <= columns for row in rows)
    beans = next(row for row in rows if "beans" in row)
    assert beans.split()[0] in {each.stem.rpartition("-")[2] for each in (workspace / "jobs").glob("*-chat-*")}
    assert "answered" in beans
    assert "When do I sow" in beans
    assert beans.endswith("$0.02")
    assert any(cell_len(row) > columns - 12 for row in rows)


def test_runs_in_a_pipe_are_whole(workspace, capsys):
    """A script gets whole ids and whole first lines; an error stands behind its question."""
    runs(workspace)
    text = capsys.readouterr().out
    assert BEANS in text
    assert all(each.stem in text for each in (workspace / "jobs").glob("*.json"))
    assert "refused by policy" in text


def test_a_short_id_works_where_it_is_shown(workspace, terminal, capsys):
    """What `runs` shows as an id is one in every verb."""
    terminal(80)
    runs(workspace)
    short = next(row for row in printed(capsys) if "beans" in row).split()[0]
    show(short, workspace=workspace)
    assert BEANS.split("?", maxsplit=1)[0][:40] in capsys.readouterr().out


def test_status_says_what_waits_and_what_was_spent_of_which_ceiling(workspace, terminal, capsys):
    """Held ones are named with their reason, one line each; spending stands beside the ceiling."""
    terminal(80)
    status(workspace=workspace)
    lines = printed(capsys)
    assert all(cell_len(line) <= 80 for line in lines)
    assert any("of $1.00 today" in line for line in lines)
    held = next(line for line in lines if "peas_input.txt" in line)
    assert "held" in held
    assert "no key" in held


def test_a_ceiling_that_is_near_is_a_warning_in_status_doctor_and_costs(workspace, home, capsys):
    """From 80 % on, each of them says it, and what raises the ceiling."""
    (home / "config/rlmwatch").mkdir()
    config = home / "config/rlmwatch/config.toml"
    asyncio.run(spent_today(workspace, 0.021))
    for ceiling, near in ((0.05, False), (0.025, True)):
        config.write_text(f"[ceilings]\nmax_cost_usd_per_day = {ceiling}\n")
        status(workspace=workspace)
        assert ("84% of the day's ceiling" in capsys.readouterr().out) is near
        status(workspace=workspace, as_json=True)
        assert [each["near"] for each in json.loads(capsys.readouterr().out)["ceilings"]] == [near]
        costs(workspace)
        assert ("raised by max_cost_usd_per_day" in capsys.readouterr().out) is near
        doctor(workspace, as_json=True)
        marks = [each["mark"] for each in json.loads(capsys.readouterr().out) if each["what"] == "ceiling"]
        assert marks == (["warning"] if near else ["ok"])


async def spent_today(workspace, usd):
    from rlmwatch.runs.journal import Ceilings
    from rlmwatch.runs.model import PaidCall

    ledger = ledger_of(locate(workspace))
    try:
        (run, *_) = await ledger.open_runs()
        await ledger.release_held(now=clock.utc())
        run = await ledger.claim(run.run_id, now=clock.utc())
        call = PaidCall("k", "llm", "m", {}, 10, usd)
        await ledger.intend(run.run_id, run.attempt, call, ceilings=Ceilings(None, of_user=True), now=clock.utc())
    finally:
        await ledger.aclose()


def test_status_outside_of_a_workspace_lists_the_daemons_of_this_user(workspace, terminal, capsys):
    """Without a folder it says which daemons run, where, since when, what waits and what was spent."""
    terminal(80)
    paths = locate(workspace)
    with Lock.acquire(paths.state, host="h", pid=os.getpid(), now=clock.utc(), serves=True, root=paths.root):
        status()
        head, row = printed(capsys)
        status(as_json=True)
        found = json.loads(capsys.readouterr().out)
    assert head.split()[:2] == ["workspace", "process"]
    assert row.split()[:2] == ["~/notes", str(os.getpid())]
    (daemon,) = found["daemons"]
    assert (daemon["workspace"], daemon["pid"], daemon["held"]) == (str(workspace), os.getpid(), 1)
    status(as_json=True)
    assert json.loads(capsys.readouterr().out) == {"daemons": [], "quiet": [str(workspace)]}


def test_show_has_labels_times_and_prices(workspace, capsys):
    """The model's words, its code, what that printed and the answer are told apart, each step with time and price."""
    job = next((workspace / "jobs").glob("*-job-*")).stem
    show(job, workspace=workspace)
    text = capsys.readouterr().out
    parts = [text.index(label) for label in ("question:", "the model's words:", "code:", "what it printed:", "answer:")]
    assert parts == sorted(parts)
    words = text[parts[1] : parts[2]]
    assert "I count them." in words
    assert "python" not in words
    assert "1.5 s" in text
    assert "$0.001" in text


def test_show_follows_a_run_until_it_has_ended(workspace, capsys):
    """With --follow, what comes later is printed too, and the command ends with the run."""
    held = next(each.stem for each in (workspace / "jobs").glob("*.json") if '"held"' in each.read_text())
    asyncio.run(goes_on(workspace))
    follower = threading.Thread(target=show, args=(held,), kwargs={"workspace": workspace, "follow": True})
    follower.start()
    asyncio.run(ends(workspace, held))
    follower.join(30)
    assert not follower.is_alive()
    text = capsys.readouterr().out
    assert text.index("And peas?") < text.index("In March.")


async def goes_on(workspace):
    ledger = ledger_of(locate(workspace))
    try:
        (run,) = await ledger.release_held(now=clock.utc())
        await ledger.claim(run.run_id, now=clock.utc())
        (workspace / f"jobs/{run.run_id}.json").unlink()
    finally:
        await ledger.aclose()


async def ends(workspace, run_id):
    from rlmwatch.runs.model import Outcome, Result, RunStatus

    ledger = ledger_of(locate(workspace))
    try:
        done = Result(RunStatus.COMPLETE, Outcome.SUCCESS, "In March.")
        assert await ledger.finish(run_id, 2, done, now=clock.utc()) is not None
    finally:
        await ledger.aclose()


@pytest.mark.parametrize(
    ("by", "first"), [(CostsBy.CONVERSATION, "garden/beans"), (CostsBy.KIND, "chat"), (CostsBy.MODEL, "small")]
)
def test_costs_are_summed_as_asked(workspace, terminal, capsys, by, first):
    """By conversation, kind or model the dearest comes first, within the terminal; ceilings and savings stand below."""
    terminal(80)
    costs(workspace, by=by, since="2026-11-01")
    lines = printed(capsys)
    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[1].startswith(first)
    assert any(line.startswith("ceiling") and "of $1.00 today" in line for line in lines)
    assert any(line.startswith("saved") for line in lines)


def test_costs_outside_of_a_workspace_are_of_all(workspace, capsys):
    """Without a folder, all workspaces of this user count."""
    paths = locate(workspace)
    Lock.acquire(paths.state, host="h", pid=os.getpid(), now=clock.utc(), root=paths.root).release()
    costs(by=CostsBy.WORKSPACE, since="2026-11-01", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [(each["group"], each["usd"]) for each in found["groups"]] == [(str(workspace), 0.021)]
    costs(workspace, since="2027-01-01")
    assert "nothing was spent since 2027-01-01" in capsys.readouterr().out


def test_doctor_begins_with_a_verdict_and_what_is_wrong():
    """One line says how it is; then come what is wrong, warnings, and the rest in few lines."""
    lines = [
        Line("ok", "rlmwatch", "0.1"),
        Line("ok", "OPENAI_API_KEY", "not set"),
        Line("ok", "EXA_API_KEY", "not set"),
        Line("ok", "sandbox, seccomp", "on"),
        Line("ok", "sandbox, landlock", "on"),
        Line("warning", "price", "not known", "write it"),
        Line("wrong", "provider", "none", "set a key"),
    ]
    assert verdict(lines) == "1 thing wrong: provider"
    assert verdict(lines[:-1]) == "ready, with 1 warning: price"
    assert verdict(lines[:-2]) == "ready: all is well"
    assert [(each.mark, each.what) for each in arranged(lines)] == [
        ("wrong", "provider"),
        ("warning", "price"),
        ("ok", "rlmwatch"),
        ("ok", "sandbox"),
        ("ok", "keys not set"),
    ]
    ill = [*lines[:4], Line("wrong", "sandbox, landlock", "refused", "boot with it")]
    assert arranged(ill)[0].what == "sandbox, landlock"


def test_doctor_fixes_what_is_safe_and_says_so(home, workspace, capsys):
    """A missing folder is made, keys are closed to others, old temporary files go; the rest is left."""
    (home / "config/rlmwatch").mkdir()
    keys = home / "config/rlmwatch/.env"
    keys.write_text("OPENAI_API_KEY=made-up-key-1\n")
    keys.chmod(0o644)
    old, young = (workspace / f"{PREFIX}{name}{SUFFIX}" for name in ("old", "young"))
    for file in (old, young):
        file.write_text("half")
    os.utime(old, (0, 0))
    doctor(workspace, as_json=True)
    assert {"mark": "warning", "what": "key file"}.items() <= by_name(capsys)["key file"].items()
    doctor(workspace, fix=True, as_json=True)
    found = by_name(capsys)
    assert (found["key file"]["mark"], found["temporary files"]["mark"]) == ("fixed", "fixed")
    assert keys.stat().st_mode & 0o777 == 0o600
    assert (old.exists(), young.exists()) == (False, True)
    doctor(home / "new", fix=True, as_json=True)
    out = capsys.readouterr().out
    assert '"fixed"' in out
    assert (home / "new/rlmwatch.toml").is_file()
    assert "made-up-key-1" not in out


def by_name(capsys):
    return {each["what"]: each for each in json.loads(capsys.readouterr().out)}


def test_runs_say_how_many_more_there_are(workspace, capsys):
    """A list that ends early says so, and how to see the rest; a whole one says nothing."""
    runs(workspace, limit=2)
    said = capsys.readouterr()
    assert (len(said.out.splitlines()), said.err) == (
        3,
        "2 of 4 runs: --limit N shows the newest N, --all all of them\n",
    )
    runs(workspace, limit=1, status="answered")
    assert capsys.readouterr().err.startswith("there are more: --limit N")
    for whole in ({"limit": 4}, {"limit": 1, "every": True}):
        runs(workspace, **whole)
        said = capsys.readouterr()
        assert (len(said.out.splitlines()), said.err) == (5, "")


def test_status_names_what_has_no_answer_and_why(workspace, terminal, capsys):
    """A question that failed stands in the list with its reason, as what is held does."""
    terminal(100)
    status(workspace=workspace)
    lines = printed(capsys)
    assert any("failed" in line and "refused by policy" in line for line in lines)
    assert any(line.startswith("      runs  1 held, 2 answered, 1 failed") for line in lines)
    status(workspace=workspace, as_json=True)
    (failed,) = json.loads(capsys.readouterr().out)["without_answer"]
    assert (failed["status"], failed["input"], failed["outcome"]) == ("failed", "wrong_input.txt", "provider_error")


def test_every_near_miss_is_said_once_by_status(workspace, capsys):
    """Each rule of the table: its file is named once, with what is wrong and what to do."""
    from rlmwatch.contract.near_misses import RULES

    names = []
    for number, rule in enumerate(RULES):
        name = rule.examples[0] if rule.root else f"f{number}/{rule.examples[0]}"
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_text("one")
        names.append(name)
    status(workspace=workspace)
    said = capsys.readouterr().out.splitlines()
    for name, rule in zip(names, RULES, strict=True):
        (line,) = [each for each in said if f"  {name}: " in each]
        assert rule.wrong in line
