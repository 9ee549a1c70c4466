"""
A question and its material, which change in any order, beside a model that remembers what was asked about what.

The folder, the ledger, the filter of saves and the comparison of the material are real.
"""

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from memory_queue import Surroundings

from rlmwatch.contract.names import input_name
from rlmwatch.errors import InputError
from rlmwatch.execution.material import changed
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.model import Outcome, Result, RunStatus
from rlmwatch.watch.namesakes import Namesakes
from rlmwatch.watch.one import read_one
from rlmwatch.watch.save_filter import SaveFilter, WatchConfig
from rlmwatch.workspace.context import read_context

NOW = "2026-11-24T09:00:00.000Z"
PATH = "a_job_input.txt"
FILES = st.sampled_from(["a_job_data.txt", "a_job_data.csv", "a_job_data/x.txt", "a_job_data/y/z.md"])
TEXTS = st.sampled_from(["one", "two"])


class Material(RuleBasedStateMachine):
    """
    Whatever is done to question and material, this holds.

    1. A change of the material alone starts nothing.
    2. A save is asked if its bytes or its material differ from those that were asked last; else it is not.
    """

    @initialize()
    def begin(self):
        self.root = Path(tempfile.mkdtemp(prefix="rlmwatch-material-"))
        self.loop = asyncio.Runner()
        self.ledger = SqliteLedger.open(self.root.with_name(f"{self.root.name}.ledger") / "ledger.sqlite3")
        around = Surroundings().ports()
        ports = replace(around, queue=self.ledger, material_changed=self.material_changed)
        self.filter = SaveFilter(WatchConfig(), ports, Namesakes(self.root))
        self.files: dict[str, str] = {}
        self.asked: tuple[str, dict[str, str]] | None = None
        self.saves("one")

    async def material_changed(self, save):
        (run, *_) = await self.ledger.recent(1, save.conversation)
        return await asyncio.to_thread(changed, self.root, run, None, ())

    @rule(file=FILES, text=TEXTS)
    def material_is_written(self, file, text):
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.files[file] = text
        self.nothing_starts()

    @rule(file=FILES)
    def material_goes(self, file):
        if self.files.pop(file, None) is not None:
            (self.root / file).unlink()
            folder = self.root / "a_job_data"
            if folder.exists() and not any(each.is_file() for each in folder.rglob("*")):
                shutil.rmtree(folder)
        self.nothing_starts()

    @rule()
    def material_is_touched(self):
        """A sync tool writes the same bytes anew."""
        for file, text in self.files.items():
            (self.root / file).write_text(text)
        self.nothing_starts()

    @rule(text=TEXTS)
    def saves(self, text):
        """A person saves the question, the same bytes or others; if it is asked, it is answered."""
        (self.root / PATH).write_text(text)
        run = self.loop.run(self.offer())
        assert (run is not None) == (self.asked != (text, self.files))
        self.asked = (text, dict(self.files))

    async def offer(self):
        save = await read_one(self.root, PATH, self.filter.config)
        admission = await self.filter.admit(save)
        if admission.run is None:
            return None
        run = await self.ledger.claim(admission.run.run_id, now=NOW)
        try:
            found = await asyncio.to_thread(read_context, self.root, input_name(PATH), None)
        except InputError as error:
            result = Result(RunStatus.FAILED, Outcome.BAD_INPUT, error=str(error))
        else:
            await self.ledger.freeze(run.run_id, run.attempt, {"messages": [], "material": found.digest})
            result = Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="42")
        return await self.ledger.finish(run.run_id, run.attempt, result, now=NOW)

    def nothing_starts(self):
        assert self.loop.run(self.ledger.pending()) == []

    def teardown(self):
        if hasattr(self, "filter"):
            self.loop.run(self.ledger.aclose())
            self.loop.close()
            shutil.rmtree(self.root)
            shutil.rmtree(self.root.with_name(f"{self.root.name}.ledger"))


TestMaterial = Material.TestCase
TestMaterial.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
