"""The ledger under a real SIGKILL: what a verb returned is there, and nothing stands half."""

import asyncio
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.model import CallState, RunStatus

WORKER = """
import asyncio, itertools, sys
from pathlib import Path
from rlmwatch.contract.kinds import Kind
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import Outcome, PaidCall, Result, RunStatus, Save, Usage
from rlmwatch.runs.queue import OnNewSave

NOW = "2026-11-24T10:00:00.000Z"
say = lambda *words: print(*words, flush=True)  # said after the verb returned: from here on it must be there

async def life(ledger, conversation, generation):
    for n in itertools.count():
        save = Save(f"{conversation}_input.txt", Kind.CHAT, conversation, "q", {}, f"sha256:{generation}/{n}")
        run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=NOW)).run
        say("admitted", run.run_id)
        run = await ledger.claim(run.run_id, now=NOW)
        say("claimed", run.run_id)
        async def call(key):
            paid = PaidCall(key, "llm", "m", {}, 10, 0.01)
            await ledger.intend(run.run_id, run.attempt, paid, ceilings=Ceilings(None), now=NOW)
            say("intended", run.run_id, key)
            await ledger.record(run.run_id, key, {"key": key}, Usage(1, 1, 0.001, 1), now=NOW)
            say("recorded", run.run_id, key)
        await asyncio.gather(*(call(str(k)) for k in range(4)))
        result = Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="42")
        await ledger.finish(run.run_id, run.attempt, result, now=NOW)
        say("finished", run.run_id)

async def main():
    ledger = SqliteLedger.open(Path(sys.argv[1]))
    await asyncio.gather(*(life(ledger, name, sys.argv[2]) for name in "abc"))

asyncio.run(main())
"""


async def check(path: Path, said: list[list[str]]) -> None:
    """Hold what the killed worker *said* against what the ledger knows."""
    ledger = SqliteLedger.open(path)
    runs = {run.run_id: run for run in await ledger.recent(100_000)}
    states = {(run_id, entry.call.key): entry.state for run_id in runs for entry in await ledger.entries(run_id)}
    rank = [RunStatus.PENDING, RunStatus.RUNNING, RunStatus.COMPLETE]
    least = {"admitted": RunStatus.PENDING, "claimed": RunStatus.RUNNING, "finished": RunStatus.COMPLETE}
    for verb, run_id, *key in said:
        if verb in least:
            assert rank.index(runs[run_id].status) >= rank.index(least[verb])
        elif verb == "intended":
            assert states[run_id, *key] in (CallState.INTENT, CallState.DONE)
        else:
            assert states[run_id, *key] is CallState.DONE
    assert await ledger.count() == {s: sum(run.status is s for run in runs.values()) for s in RunStatus}
    cents = sum(0.001 if state is CallState.DONE else 0.01 for state in states.values())
    assert round((await ledger.spent_usd(now="2026-11-24T10:00:00.000Z"))[0], 6) == round(cents, 6)
    for run in await ledger.reclaim(now="2026-11-24T10:00:00.000Z"):
        await ledger.cancel(run.run_id, "killed", now="2026-11-24T10:00:00.000Z")
    await ledger.aclose()


def test_what_a_verb_returned_survives_a_kill(tmp_path):
    """Killed in the middle of its verbs, again and again, the ledger has lost nothing that it said was done."""
    path = tmp_path / "state" / "ledger.db"
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    dice = random.Random(7)  # noqa: S311 (when to kill, not a secret)
    for generation in range(6):
        command = [sys.executable, str(script), str(path), str(generation)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            lines = [worker.stdout.readline() for _ in range(dice.randint(1, 120))]
            worker.kill()
            lines += worker.stdout.read().splitlines(keepends=True)
        # A verb's line may itself be cut by the kill.
        said = [line.split() for line in lines if line.endswith("\n")]
        assert said, "the worker died by itself"
        asyncio.run(check(path, said))
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
