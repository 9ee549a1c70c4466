"""
The errors of rlmwatch.

    RlmwatchError
    ├── UserError                  a person can act on it; the text says how
    │   ├── UsageError             the command line was called wrongly
    │   ├── ConfigError            a setting: which file, which key, what to write
    │   ├── InputError             an input file: line and column where known
    │   ├── NoProvider             no key, no model: the ways out
    │   │   └── NoCodingModel      the model that answers cannot write code, which the engine needs
    │   ├── WorkspaceError         the folder is missing, replaced, read-only or full
    │   │   └── WorkspaceBusy      another daemon holds it
    │   ├── LedgerError            the ledger cannot be used, e.g. written by a newer version
    │   │   └── LedgerDiskError    its disk is full or fails: what was paid is kept in memory meanwhile
    │   └── SandboxUnavailable     this machine cannot lock down a sandbox; the reason
    ├── BudgetError
    │   ├── BudgetExceeded         one reservation does not fit: which cap, used, asked
    │   │   ├── CeilingReached     the day's or month's ceiling of the user
    │   │   │   └── CeilingUnknown     what counts against it cannot be known now
    │   │   └── SessionBudgetExceeded   a session with nothing left before it starts
    │   └── UnknownPrice           a model without a known price, which the workspace chose
    ├── ProviderError              the provider's own words
    │   ├── InvalidAnswer          the answer is not the JSON that was asked for, at the second try either
    │   ├── ProviderRefused        it will not, however often it is asked (400 and the like)
    │   │   ├── WrongKey           the key or the account may not: 401, 403
    │   │   ├── UnknownModel       404, or a 400 that says so
    │   │   ├── ContextTooLong     the request is longer than the model's window
    │   │   └── ProviderUnreachable    wrong address, proxy or certificate
    │   └── ProviderUnavailable    may work later: connection, 408, 409, 429, 5xx
    │       ├── ProviderCutOff     the answer stopped in the middle; text so far
    │       └── NotSent            it waited for the provider's rate limit until the time was up
    ├── RunEnded                   not a failure: somebody ended the run
    │   ├── RunCancelled
    │   └── RunTimeout             the run's own time limit
    └── Fenced                     another attempt of this run has taken over: write nothing

An error's text says what went wrong, where, and what to do. It never holds a key.
"""

from __future__ import annotations

from rlmwatch.usage import Usage

SHOWN_ANSWER_CHARS = 20_000
"""Of an answer that an error quotes; the ledger has it whole (`rlmwatch show RUN --calls`)."""


WROTE = "\n\nThe model wrote:\n"
"""Before an answer that an error quotes: no part of what the log says."""


class RlmwatchError(Exception):
    """Everything that rlmwatch raises on purpose."""

    person_can_act = False
    """Whether the text names something that a person can fix."""


class UserError(RlmwatchError):
    """Something that a person can fix; the text says how."""

    person_can_act = True


class UsageError(UserError):
    """The command line was called wrongly (exit status 2)."""


class ConfigError(UserError):
    """A setting is wrong: the text names file and key."""


class InputError(UserError):
    """
    An input file cannot be answered as it is.

    Attributes:
        line: 1-based line in the file, where known.
        column: 1-based column, where known.
    """

    def __init__(self, text: str, *, line: int | None = None, column: int | None = None) -> None:
        where = "" if line is None else f"line {line}: " if column is None else f"line {line}, column {column}: "
        super().__init__(where + text)
        self.line = line
        self.column = column


class NoProvider(UserError):
    """There is neither a key nor a model to answer with."""


class NoCodingModel(NoProvider):
    """What answers cannot write code, which a run of the engine needs."""


class WorkspaceError(UserError):
    """The workspace cannot be used as it is now."""


class WorkspaceBusy(WorkspaceError):
    """Another daemon holds this workspace."""


class LedgerError(UserError):
    """The ledger cannot be used."""


class LedgerDiskError(LedgerError):
    """The ledger's disk cannot take anything now; it can again once there is space, or whoever holds the file ends."""


class SandboxUnavailable(UserError):
    """This machine cannot lock down a sandbox."""


class BudgetError(RlmwatchError):
    """A paid call was not made, to keep a cap."""

    person_can_act = True


class BudgetExceeded(BudgetError):
    """
    A reservation does not fit under a cap.

    Attributes:
        cap: Name of the cap, as a person writes it (`max_tokens`, `max_cost_usd`, ...).
        limit: The cap, in the cap's unit.
        used: Spent and reserved so far, in the cap's unit.
    """

    def __init__(self, text: str, *, cap: str, limit: float, used: float) -> None:
        super().__init__(text)
        self.cap = cap
        self.limit = limit
        self.used = used


class CeilingReached(BudgetExceeded):
    """The user's ceiling per day or month is reached."""


class CeilingUnknown(CeilingReached):
    """What counts against the user's ceilings cannot be known, so that no call is made."""


class SessionBudgetExceeded(BudgetExceeded):
    """A session has nothing left before the run starts."""


class UnknownPrice(BudgetError):
    """The price of a model is not known, so that no cap or ceiling could hold; the text has the line to write."""


class ProviderError(RlmwatchError):
    """
    A model or search provider gave no answer. The text is the provider's own.

    Attributes:
        status: HTTP status, where there was one.
        usage: What the provider reported as used before it failed; None where it reported nothing. It is booked.
    """

    usage: Usage | None = None

    def __init__(self, text: str, *, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class InvalidAnswer(ProviderError):
    """
    The answer is not the JSON that was asked for, and asking again gave no other.

    Attributes:
        words: What is wrong with it.
    """

    person_can_act = True

    def __init__(self, words: str, text: str) -> None:
        shown = text if len(text) <= SHOWN_ANSWER_CHARS else f"{text[:SHOWN_ANSWER_CHARS]}\n… (cut here)"
        super().__init__(f"{words}{WROTE}{shown}")
        self.words = words


class ProviderRefused(ProviderError):
    """The provider will not do it, however often it is asked."""

    person_can_act = True


class WrongKey(ProviderRefused):
    """The provider does not take the key, or the account may not use the model (401, 403)."""


class UnknownModel(ProviderRefused):
    """The provider has no such model."""


class ContextTooLong(ProviderRefused):
    """
    The request, with the output that it asks for, does not fit into the model's context window.

    Attributes:
        limit_tokens: The window, where the provider names it.
        asked_tokens: What was asked for, where the provider names it; input alone, or with the output.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int | None = None,
        limit_tokens: int | None = None,
        asked_tokens: int | None = None,
    ) -> None:
        super().__init__(text, status=status)
        self.limit_tokens = limit_tokens
        self.asked_tokens = asked_tokens


class ProviderUnreachable(ProviderRefused):
    """The provider is not reached until a person changes the address, the proxy or the certificates."""


class ProviderUnavailable(ProviderError):
    """
    May work later.

    Attributes:
        retry_after_s: Seconds that the provider asked to wait, where it did.
        may_be_billed: Whether the provider may have worked (and bill) before it failed.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        may_be_billed: bool = False,
    ) -> None:
        super().__init__(text, status=status)
        self.retry_after_s = retry_after_s
        self.may_be_billed = may_be_billed


class ProviderCutOff(ProviderUnavailable):
    """
    The answer stopped in the middle.

    Attributes:
        text_so_far: What had come.
    """

    def __init__(self, text: str, *, text_so_far: str) -> None:
        super().__init__(text, may_be_billed=True)
        self.text_so_far = text_so_far


class NotSent(ProviderUnavailable):
    """The call waited for the provider's rate limit until the time was up; nothing was sent, and nothing is booked."""


class RunEnded(RlmwatchError):
    """Somebody, or the run's time limit, ended the run."""


class RunCancelled(RunEnded):
    """The run was cancelled."""


class RunTimeout(RunEnded):
    """The run's time limit passed."""


class Fenced(RlmwatchError):
    """This attempt no longer owns its run: another has taken over, or it was cancelled. Write nothing."""
