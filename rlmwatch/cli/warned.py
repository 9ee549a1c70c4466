"""What the log of a verb that prints its own result is: its warnings, as a person reads them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from rlmwatch.cli.output import say
from rlmwatch.cli.view.words import in_words
from rlmwatch.daemon.logging import Redactor, observe


def quiet() -> None:
    """Say only warnings, in words; a verb that prints its own result tells the rest itself."""
    warn_in_words(Redactor())


def warn_in_words(redactor: Redactor) -> None:
    """Say the warnings and errors of the log from now on as a person reads them; what was raised, whole."""

    def tell(event: Mapping[str, Any]) -> None:
        notice = in_words(event, at="")
        if notice is not None:
            say(f"rlmwatch: {notice.what}")
        if "traceback" in event:
            say(str(event["traceback"]))

    observe(tell, redactor, level=logging.WARNING)
