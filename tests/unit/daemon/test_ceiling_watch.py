"""daemon/ceiling_watch.py: the person is told once that a ceiling is near."""

import asyncio

from structlog.testing import capture_logs

from rlmwatch.contract.kinds import Kind
from rlmwatch.daemon.ceiling_watch import CeilingWatch
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import PaidCall, Save
from rlmwatch.runs.queue import OnNewSave

NOW = "2026-11-28T10:00:00.000Z"


async def spend(ledger, usd, key):
    save = Save(f"{key}_input.txt", Kind.CHAT, key, "?", {}, f"sha256:{key}")
    run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=NOW)).run
    await ledger.claim(run.run_id, now=NOW)
    call = PaidCall(key, "llm", "m", {}, 10, usd)
    await ledger.intend(run.run_id, 1, call, ceilings=Ceilings(per_day_usd=None), now=NOW)


def test_a_ceiling_that_is_near_is_logged_once_a_day_and_again_where_it_was_raised(tmp_path):
    """At 80 % one warning says which, how much is left and what raises it; the next day is another."""

    async def story():
        ledger = SqliteLedger.open(tmp_path / "state" / "ledger.sqlite3")
        ceilings, now = [Ceilings(per_day_usd=1.0)], [NOW]
        watch = CeilingWatch(ledger, lambda: ceilings[0], lambda: now[0])
        try:
            told = []
            for spent, ceiling in ((0.5, 1.0), (0.35, 1.0), (0.0, 1.0), (0.2, 1.3), (0.2, 1.3)):
                ceilings[0] = Ceilings(per_day_usd=ceiling)
                await spend(ledger, spent, f"k{len(told)}")
                with capture_logs() as logs:
                    await watch.look()
                told.append([(each["event"], each["log_level"], each["ceiling_usd"]) for each in logs])
            near = ("ceiling.near", "warning")
            assert told == [[], [(*near, 1.0)], [], [(*near, 1.3)], []]
            assert watch.uses[0].near
            now[0] = "2026-11-29T10:00:00.000Z"
            await watch.look()
            assert not watch.uses[0].near
        finally:
            await ledger.aclose()

    asyncio.run(story())
