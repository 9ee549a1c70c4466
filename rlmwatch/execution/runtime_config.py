"""What holds for new runs: settings, the default provider, those that a run may name, and the search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rlmwatch.models.base import Model
from rlmwatch.models.select import Choice
from rlmwatch.runs.journal import Ceilings
from rlmwatch.search.base import Search
from rlmwatch.settings.model import CeilingSettings
from rlmwatch.settings.sources import Loaded

NO_SEARCH = (
    "searching the web needs a key of Exa, or a SearXNG. For Exa, get a key at dashboard.exa.ai, and put it as "
    "EXA_API_KEY into the environment, or into the file .env in rlmwatch's folder of your configuration (never into "
    "the workspace). For SearXNG, which needs no account, write its address into your own config.toml: "
    'searxng_url = "http://127.0.0.1:8888"'
)


class Providers(Protocol):
    """The providers that a run may name."""

    async def named(self, provider: str) -> tuple[Model, Choice]:
        """
        Return *provider*, made once, and how it was chosen.

        Raises:
            NoProvider: It is not there: its key has no value, its server does not answer, what is said of it is wrong.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """
    What holds for new runs.

    Attributes:
        model: The provider; None where there is none.
        default_model: Model of runs that name none.
        no_model_reason: Why there is no provider, for the person; `""` where there is one.
        search: Searches the web; None where there is neither a key nor an address for it.
        no_search_reason: Why there is none, for the person.
        choice: How the provider was chosen.
        providers: The providers that a run may name beside; None where there are none.
        users_options: Whether what a run itself says is the user's own word: a program's of theirs, not a file's.
    """

    loaded: Loaded
    model: Model | None
    default_model: str | None
    no_model_reason: str = ""
    search: Search | None = None
    no_search_reason: str = NO_SEARCH
    choice: Choice | None = None
    providers: Providers | None = None
    users_options: bool = False

    @property
    def ceilings(self) -> Ceilings:
        """The user's ceilings across all runs."""
        return ceilings_of(self.loaded.settings.ceilings)


def ceilings_of(settings: CeilingSettings) -> Ceilings:
    """Return the ceilings across all runs, as the ledger takes them."""
    of_user = settings.per == "user"
    return Ceilings(settings.max_cost_usd_per_day, settings.max_cost_usd_per_month, of_user=of_user)
