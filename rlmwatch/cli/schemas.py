"""
The JSON of every verb, as schemas: `docs/schemas/<name>.json`, made from the types that the verbs print.

`make schemas` writes them anew; a test holds them against these types, and what the verbs print against them. A name
that stands there stays, with its meaning; new ones may come, so readers ignore what they do not know.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from rlmwatch.cli.answer import AnsweredQuestion
from rlmwatch.cli.cancel import CancelledRun
from rlmwatch.cli.costs import CostReport
from rlmwatch.cli.everywhere import AllDaemons
from rlmwatch.cli.model import FetchedModel
from rlmwatch.cli.presets import ListedPreset, ShownPreset
from rlmwatch.cli.report import Line
from rlmwatch.cli.runs import ListedJob
from rlmwatch.cli.service import ServiceStatus
from rlmwatch.cli.status import WorkspaceStatus
from rlmwatch.client import Job
from rlmwatch.contract.documents import StatusFile
from rlmwatch.daemon.oneshot import OnceSummary, Sketch
from rlmwatch.runs.model import JournalEntry, Run
from rlmwatch.runs.trajectory import StepRecord


class ListedModel(TypedDict):
    """One model of `models --json`; a price that nobody knows is null."""

    model: str
    input_usd_per_million: float | None
    output_usd_per_million: float | None


class ShownTrajectory(TypedDict):
    """`show --json`."""

    run: Run
    steps: list[StepRecord]
    calls: list[JournalEntry]


class MovedLedger(TypedDict):
    """`ledger move --json`: rows by table, and where the old file is."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    ledger: str
    runs: int
    calls: int
    steps: int
    inputs: int
    deliveries: int
    spared: int
    spent_usd: float
    old: str


class LoggedEvent(TypedDict, total=False):
    """One line of `log --json`: its facts stand beside these, by the table in docs/operations.md."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    timestamp: str
    level: str
    event: str


SCHEMAS: dict[str, Any] = {
    "answer": AnsweredQuestion,
    "cancel": list[CancelledRun],
    "costs": CostReport,
    "doctor": list[Line],
    "jobs": list[ListedJob],
    "ledger-move": MovedLedger,
    "log": list[LoggedEvent],
    "model-where": FetchedModel,
    "models": list[ListedModel],
    "preset": ShownPreset,
    "presets": list[ListedPreset],
    "run-dry-run": list[Sketch],
    "run-once": OnceSummary,
    "runs": list[ListedJob],
    "service-status": list[ServiceStatus],
    "show": ShownTrajectory,
    "status": WorkspaceStatus,
    "status-all": AllDaemons,
    "status-run": StatusFile,
    "submit": Job,
}
"""
By name: `rlmwatch <verb> --json` prints what it says. `retry` prints what `submit` does, `jobs` what `runs` does, and
`presets NAME` a `preset`.
"""


def schema(name: str) -> str:
    """Return the schema *name* as its file holds it."""
    values = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TypeAdapter(SCHEMAS[name]).json_schema(mode="serialization"),
        "title": f"rlmwatch {name}",
    }
    return json.dumps(values, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def write(folder: Path) -> None:
    """Write every schema into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS:
        (folder / f"{name}.json").write_text(schema(name), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
