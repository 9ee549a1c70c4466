"""execution/outcomes.py: what becomes of a run, by the class of its error."""

from types import SimpleNamespace

import pytest

from rlmwatch.errors import (
    BudgetExceeded,
    CeilingReached,
    Fenced,
    InputError,
    NoProvider,
    ProviderRefused,
    ProviderUnavailable,
    RunCancelled,
    RunTimeout,
    UnknownModel,
    UnknownPrice,
    WrongKey,
)
from rlmwatch.execution.outcomes import AFTERWARDS, BY_ITSELF, Hold, ended_by
from rlmwatch.runs.model import Outcome, RunStatus, Usage


def context(text="", trouble=None):
    calls = SimpleNamespace(used=Usage(1, 2, 0.5, 1), text_so_far=text, trouble=trouble)
    return SimpleNamespace(wants_json=False, calls=calls, options=SimpleNamespace(model="m"))


@pytest.mark.parametrize(
    "error",
    [
        WrongKey("bad key", status=401),
        UnknownModel("no such model", status=404),
        NoProvider("nothing to answer with"),
    ],
)
def test_what_a_person_can_mend_holds_the_run(error):
    """The save is kept, and the person reads what to fix and that it will run then."""
    end = ended_by(error, context())
    assert isinstance(end, Hold)
    assert end == Hold(f"{error}\n{AFTERWARDS}")


def test_a_ceiling_may_pass_by_itself():
    """What others had reserved is given back, and a day ends."""
    error = CeilingReached("the day's ceiling", cap="max_cost_usd_per_day", limit=1, used=1)
    assert ended_by(error, context()) == Hold(f"{error}\n{BY_ITSELF}", may_pass=True)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (BudgetExceeded("spent", cap="max_tokens", limit=1, used=1), Outcome.BUDGET_EXCEEDED),
        (UnknownPrice("no price"), Outcome.BUDGET_EXCEEDED),
        (ProviderRefused("too long", status=400), Outcome.PROVIDER_ERROR),
        (ProviderUnavailable("overloaded", status=529), Outcome.PROVIDER_ERROR),
        (InputError("not for a chat"), Outcome.BAD_INPUT),
        (RunTimeout("no answer within 5 seconds"), Outcome.TIMEOUT),
    ],
)
def test_what_cannot_go_on_fails_in_its_own_words(error, outcome):
    """The error's text reaches the person unchanged, and what was spent is booked."""
    end = ended_by(error, context())
    assert (end.status, end.outcome, end.error) == (RunStatus.FAILED, outcome, str(error))
    assert end.usage.cost_usd == 0.5


def test_text_that_had_come_is_kept():
    """A run that ran out of time, or was cancelled, keeps the part of its answer that had come."""
    late = ended_by(RunTimeout("no answer within 5 seconds"), context("half an"))
    assert (late.status, late.outcome, late.answer, late.partial) == (
        RunStatus.COMPLETE,
        Outcome.TIMEOUT,
        "half an",
        True,
    )
    gone = ended_by(RunCancelled("asked to"), context("half an"))
    assert (gone.status, gone.answer, gone.notes) == (RunStatus.CANCELLED, "half an", ("asked to",))
    assert ended_by(RunCancelled("asked to"), None).answer is None


def test_a_run_that_another_attempt_owns_is_left_alone():
    """Nothing is written for it."""
    assert ended_by(Fenced("taken over"), context()) is None


def test_a_fault_of_ours_is_said_to_be_one():
    """An error that nobody foresaw ends the run in words, and does not end the daemon."""
    end = ended_by(ZeroDivisionError("division by zero"), context())
    assert end.outcome is Outcome.ERROR
    assert end.error.startswith("a fault in rlmwatch: ZeroDivisionError: division by zero")


def test_a_timeout_after_failing_tries_says_so_in_the_providers_words():
    """Where the provider kept failing until the time limit, the person reads its words, and the limit."""
    end = ended_by(
        RunTimeout("no answer within 5 seconds"), context(trouble=ProviderUnavailable("overloaded", status=529))
    )
    assert end.outcome is Outcome.TIMEOUT
    assert end.error.startswith("overloaded\n")
    assert "no answer within 5 seconds" in end.error
