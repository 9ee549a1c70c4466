"""
The command line: one verb, one module, loaded when it is called.

Exit status: 0 done, 1 it failed, 2 called wrongly, a wrong setting, or the workspace is held by another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from rlmwatch.cli.output import say
from rlmwatch.errors import ConfigError, NoProvider, RlmwatchError, UsageError, WorkspaceBusy
from rlmwatch.version import __version__

FAILED = 1
CALLED_WRONGLY = 2
INTERRUPTED = 130

VERBS: dict[str, tuple[str, str]] = {
    "setup": ("rlmwatch.cli.setup:setup", "Choose a provider, enter its key, test it, make a folder."),
    "init": ("rlmwatch.cli.init:init", "Make a workspace with an example, and say what to do next."),
    "run": ("rlmwatch.cli.run:run", "Watch a workspace and answer what is saved in it."),
    "answer": ("rlmwatch.cli.answer:answer", "Answer one question now, here, without a daemon."),
    "status": ("rlmwatch.cli.status:status", "Show the workspace, one run, or all your daemons."),
    "show": ("rlmwatch.cli.show:show", "Show what a run asked, ran, saw and answered, step by step."),
    "runs": ("rlmwatch.cli.runs:runs", "List runs, newest first."),
    "costs": ("rlmwatch.cli.costs:costs", "Show what was spent, on what, and what the ceilings still allow."),
    "again": ("rlmwatch.cli.again:again", "Ask a question again without changing its file."),
    "undo": ("rlmwatch.cli.undo:undo", "Take the last question and its answer back."),
    "branch": ("rlmwatch.cli.branch:branch", "Go on from a conversation under another name, too."),
    "retry": ("rlmwatch.cli.retry:retry", "Ask once more what failed or was cancelled."),
    "submit": ("rlmwatch.cli.submit:submit", "Hand in a job; with --wait, print its answer."),
    "cancel": ("rlmwatch.cli.cancel:cancel", "End runs before their time."),
    "doctor": ("rlmwatch.cli.doctor:doctor", "Check keys, provider, workspace, limits; say what to do."),
    "log": ("rlmwatch.cli.log:log", "Show what the daemon logged of a run, or lately."),
    "reload": ("rlmwatch.cli.reload:reload", "Have the daemon read its settings and keys again."),
    "service": ("rlmwatch.cli.service:app", "Have folders answered from log-in or boot on, by systemd."),
    "presets": ("rlmwatch.cli.presets:presets", "List the presets that questions may name, or print one."),
    "models": ("rlmwatch.cli.models:models", "List the models that a provider offers, with prices where known."),
    "model": ("rlmwatch.cli.model:app", "The small local model: fetch it, say where it is, remove it."),
    "worker": ("rlmwatch.cli.worker:worker", "Answer runs of a shared ledger on this machine, without a folder."),
    "ledger": (
        "rlmwatch.cli.ledger:app",
        "Check, compact, back up, restore the ledger; carry it over to PostgreSQL.",
    ),
}
"""In the order of their use; what few need comes last."""
EARLIER = {"jobs": "runs"}
"""Names that scripts may still use, by what they are now; no help has them."""


def build() -> App:
    """Return the command line, with every verb still unloaded."""
    app = App(
        name="rlmwatch",
        help="A folder that answers: save a text file, and the answer appears beside it.",
        version=__version__,
    )
    for place, (verb, (where, what)) in enumerate(VERBS.items()):
        app.command(where, name=verb, help=what, sort_key=place)
    for name, verb in EARLIER.items():
        app.command(VERBS[verb][0], name=name, show=False)
    app.register_install_completion_command()
    return app


def main() -> None:
    """Run the command line and exit."""
    if sys.platform != "linux":
        words = f"rlmwatch needs Linux, and this system is {sys.platform}. On Windows, WSL 2 is one."
        say(f"rlmwatch: {words}")
        sys.exit(CALLED_WRONGLY)
    from rlmwatch.cli.streams import background_streams

    status: object = FAILED
    try:
        with background_streams():
            status = _run(sys.argv[1:])
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        pass  # the reader of our output went away, as `| head` does
    except OSError as error:  # of standard output: what the verbs meet is told by `_run`
        say(f"rlmwatch: cannot write the output: {error.strerror}")
    sys.exit(status if isinstance(status, int) else 0)


def _run(words: Sequence[str]) -> object:
    try:
        return build()(words, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return CALLED_WRONGLY  # it was printed
    except RlmwatchError as error:
        say(f"rlmwatch: {error}")
        wrong = isinstance(error, UsageError | ConfigError | WorkspaceBusy | NoProvider)
        return CALLED_WRONGLY if wrong else FAILED
    except BrokenPipeError:
        raise
    except OSError as error:
        named = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        say(f"rlmwatch: {named}{error.strerror or error}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
