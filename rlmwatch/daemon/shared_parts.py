"""
What the folders of one process have in common, and what a reload that changes nothing keeps.

Providers with their connections and rate limits (so also one embedded model), the sandbox with its fork server, the
readers of documents, and how many sub-engines this machine bears. Of each there is one for each way in which the user's
own settings want it; a file of replies that was changed is another provider. What nothing uses any more stays until the
process ends, since runs may go on with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rlmwatch.daemon.credentials import Key
from rlmwatch.daemon.factories import build_documents, build_model, build_sandbox, gather
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.engine.costs import Costs
from rlmwatch.engine.sub_sessions import SubSessions
from rlmwatch.models.base import Model
from rlmwatch.models.select import Choice, choose
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.settings.sources import Loaded, stamp
from rlmwatch.settings.user_folders import expanded


@dataclass(slots=True)
class SharedParts:
    """
    Makes each part once.

    Attributes:
        costs: What was learned of what calls cost.
        sub_sessions: Lets as many sub-engines have a session at once as this machine bears.
    """

    costs: Costs = field(default_factory=Costs)
    sub_sessions: SubSessions = field(default_factory=SubSessions)
    _models: dict[tuple[object, ...], Model] = field(default_factory=dict)
    _sandboxes: dict[bool, Sandbox] = field(default_factory=dict)
    _documents: dict[bool, DocumentReader] = field(default_factory=dict)

    async def find_model(
        self, loaded: Loaded, keys: Mapping[str, Key], environ: Mapping[str, str]
    ) -> tuple[Model, Choice]:
        """Return the provider that answers, as `factories.find_model` does; the same for the same settings."""
        choice = choose(await gather(loaded, keys, environ, loaded.settings.provider))
        return self.build_model(choice, loaded, keys, environ), choice

    def build_model(
        self, choice: Choice, loaded: Loaded, keys: Mapping[str, Key], environ: Mapping[str, str] = os.environ
    ) -> Model:
        """Return the provider that was chosen, as `factories.build_model` does; the same for the same settings."""
        key = keys.get(choice.key_name or "")
        settings = loaded.settings
        wanted = (
            *place_of(choice),
            tuple((name, value.get_secret_value()) for name, value in sorted(choice.headers.items())),
            None if key is None else key.secret.get_secret_value(),
            None if choice.replies is None else stamp(expanded(Path(choice.replies))),
            repr(settings.models),
            repr(sorted(settings.prices.items())),
        )
        if wanted not in self._models:
            self._models[wanted] = build_model(choice, loaded, keys, environ)
        return self._models[wanted]

    def sandbox(self, loaded: Loaded) -> Sandbox:
        """Return where a model's code runs."""
        degraded = loaded.settings.sandbox.allow_degraded
        if degraded not in self._sandboxes:
            self._sandboxes[degraded] = build_sandbox(loaded)
        return self._sandboxes[degraded]

    def documents(self, loaded: Loaded) -> DocumentReader:
        """Return what turns documents into text."""
        degraded = loaded.settings.sandbox.allow_degraded
        if degraded not in self._documents:
            self._documents[degraded] = build_documents(loaded)
        return self._documents[degraded]

    async def aclose(self) -> None:
        """Close all of it. Idempotent."""
        models, sandboxes = [*self._models.values()], [*self._sandboxes.values()]
        self._models.clear()
        self._sandboxes.clear()
        for model in models:
            await model.aclose()
        for sandbox in sandboxes:
            await sandbox.aclose()


def place_of(choice: Choice) -> tuple[object, ...]:
    """Return what two choices have in common that ask the same provider, under whatever names."""
    return choice.base_url, choice.key_name, choice.embedded_path, choice.replies
