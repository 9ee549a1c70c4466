"""
What the log says that a person must know, in plain words. Pure.

1. Warnings and errors are said; what goes on as it should is not, nor what the row of a question says anyway.
2. Of an event that is not in the table (a newer one, a library's), the facts that are sentences are said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

FAULTS: Final = frozenset({"error", "critical", "exception"})
SERIOUS: Final = FAULTS | {"warning"}
SENTENCES: Final = ("why", "what", "reason", "problem")
"""The facts of an event that are words for a person; the first that is there is taken."""

WORDS: Final[Mapping[str, str]] = {
    "model.none": "Nothing answers: {why}",
    "price.assumed": "{why}",
    "prices.not_read": "The prices of {provider} cannot be read: {why}",
    "credentials.keyring_silent": "The system keyring did not answer within {for_s} s. Unlock it, then rlmwatch reload",
    "credentials.unreadable": "{why}",
    "reload.failed": "The settings were not taken over: {why}. {done}",
    "settings.wrong": "{why}. {done}",
    "host.standby": "{answers} answers in this folder, and this machine stands by. "
    "rlmwatch run --take-over moves it here",
    "host.handover": "{answers} answers in this folder from now on, and this machine stands by",
    "host.unknown": "Who answers in this folder cannot be read: {why}",
    "folder.busy": "{why}. {done}",
    "workspace.waiting": "{why}. It goes on by itself when that is fixed",
    "notes.index_rebuilt": "The index of the notes was damaged, and is built anew",
    "workspace.not_served": "{workspace} is not served: {why}. It is tried again",
    "workspace.fault": "A fault in rlmwatch, please report it: {fault}",
    "workspaces.none": "No folder is named in workspaces. {cure}",
    "workspace.replaced": "Another folder has taken the place of this one: going on with it",
    "watch.no_events": "The system tells nothing of saves ({reason}): they are seen later, every 5 s. "
    "Raise fs.inotify.max_user_watches or max_user_instances",
    "watch.too_few_watches": "{unwatched} of {folders} folders tell nothing of saves: they are looked at every 5 s. "
    "Raise fs.inotify.max_user_watches",
    "watch.remote_mount": "This is a {type} mount: what other machines save is seen every {every_s} s",
    "watch.paused": "The folder is missing: waiting for it to come back",
    "watch.folder_unreadable": "{path} may not be read ({reason}): passed over",
    "watch.too_deep": "{path} lies too deep: passed over with all below",
    "name.wrong": "{path} is not asked: {why}. {cure}",
    "save.skipped": "{path} is not asked: {reason}. {cure}",
    "save.same_bytes": "{path} is as it was when it was asked. {cure}",
    "save.refused": "{path} is not asked: {reason}",
    "save.not_admitted": "{path} is not asked yet: {reason}. It is tried again",
    "save.read_while_open": "{path} is still open for writing, and was read as it is",
    "job.refused": "{path} is not asked: {reason}",
    "jobs.waiting": "jobs/ cannot be used: {why}. It is tried again",
    "run.warning": "{path}: {what}",
    "run.lost": "{path}: its run is not known any more, and has failed",
    "run.internal_error": "A fault in rlmwatch, please report it: {fault}",
    "jobs.fault": "A fault in rlmwatch, please report it: {fault}",
    "webhook.fault": "A fault in rlmwatch, please report it: {fault}",
    "history.unreadable": "The status files cannot be read now; it is tried again when they are needed",
    "ledger.waiting": "The disk of the state folder is full: what was paid for is kept in memory until there is space",
    "ledger.unavailable": "The ledger cannot be used now: {why}. It is tried again",
    "ledger.set_aside": "The ledger was damaged ({why}), is now {aside}. A new one was begun; nothing is asked again",
    "ledger.damaged": "The ledger is damaged ({why}). Restart rlmwatch: it sets the file aside and asks nothing again",
    "ledger.left_behind": "There is an older ledger beside the shared one. rlmwatch ledger move",
    "embedded.crashed": "The small local model has ended by itself; the next question starts it again",
    "memory.moved_aside": "{path} was damaged, and is now {to}: its conversation starts afresh",
    "transcript.moved_aside": "{path} could not be added to, and is now {to}: a new one is begun",
    "session.moved_aside": "{path} was damaged, and is now {to}: its session starts afresh",
    "status.not_written": "A status file was not written: {why}",
    "error_file.not_written": "An error file was not written: {why}",
    "webhook.failed": "A webhook was not heard: {why}. It is tried again",
    "webhook.abandoned": "A webhook was not heard, and is given up: {why}",
}

ALSO: Final = frozenset({"save.skipped", "save.same_bytes"})
"""No warnings, but who has just saved wonders why nothing happens."""

SILENT: Final = frozenset(
    {
        # Their rows say it.
        "run.failed",
        "run.held",
        "run.fenced",
        "publish.superseded",
        "publish.folder_gone",
        "sandbox.waiting",
        # They mend themselves within a second, and nothing is lost.
        "watch.events_lost",
        "watch.event_dropped",
        "watch.restarted",
        "sandbox.memory",
        "sandbox.violated",
        "log.lines_dropped",
        "ledger.not_heard",
        "worker.registers_again",
        "run.orphan_reclaimed",
    }
)
"""Warnings that are for the log alone."""

OVER: Final[Mapping[str, frozenset[str]]] = {
    "ready": frozenset(
        {"host.standby", "host.handover", "host.unknown", "folder.busy", "settings.wrong", "workspace.not_served"}
    ),
    "host.taken_over": frozenset({"host.standby", "host.handover"}),
    "save.admitted": ALSO,
    "name.gone": frozenset({"name.wrong"}),
    "workspace.left": frozenset({"workspace.not_served"}),
    "reloaded": frozenset({"reload.failed", "settings.wrong", "model.none", "credentials.unreadable"}),
    "model.chosen": frozenset({"model.none"}),
    "watch.resumed": frozenset({"watch.paused", "host.unknown"}),
    "watch.walked": frozenset({"watch.paused", "host.unknown"}),
    "ledger.stored": frozenset({"ledger.waiting"}),
    "ledger.heard_again": frozenset({"ledger.unavailable", "ledger.not_seen"}),
    "answer.written": frozenset({"workspace.waiting", "ledger.unavailable", "status.not_written"}),
    "prices.read": frozenset({"prices.not_read"}),
}
"""Events that say that what other events said is over."""

OF_ONE_FILE: Final = frozenset({"save.skipped", "name.wrong"})
"""Events of which what was said is over for the same file alone."""


@dataclass(frozen=True, slots=True)
class Notice:
    """
    What a person must know.

    Attributes:
        event: Of the log.
        at: The time of the day, for people.
        what: In their words.
        serious: Whether something does not work; else it is only to be known.
        path: The file that it is about; `""` where it is about none.
        folder: The workspace that it is about, where one daemon serves several; `""` where it is about none.
    """

    event: str
    at: str
    what: str
    serious: bool
    path: str = ""
    folder: str = ""


def in_words(event: Mapping[str, Any], *, at: str) -> Notice | None:
    """Return what a person must know of an *event* of the log that came *at* this time; None where that is nothing."""
    name, level = str(event.get("event")), str(event.get("level"))
    if (level not in SERIOUS and name not in ALSO) or name in SILENT:
        return None
    if name in WORDS:
        facts = defaultdict(lambda: "?", {key: _sentence(value) for key, value in event.items()})
        facts |= {key: _begun(facts[key]) if key in event else "" for key in ("done", "cure")}
        what = WORDS[name].format_map(facts)
    else:
        found = [_sentence(event[key]) for key in SENTENCES if event.get(key)][:1]
        cure = [_begun(_sentence(event[key])) for key in ("cure", "done") if event.get(key)][:1]
        what = ". ".join([*(found or [name.replace(".", " ").replace("_", " ")]), *cure])
    path, folder = (str(event.get(key) or "") for key in ("path", "folder"))
    return Notice(name, at, " ".join(what.split()), serious=level in FAULTS, path=path, folder=folder)


def _sentence(value: object) -> str:
    """Return *value* within a sentence: on one line, and without the full stop that the sentence brings."""
    text = " ".join(str(value).split())
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


def _begun(text: str) -> str:
    """Return *text* as a sentence begins; a name of a file stays as it is."""
    first = text.partition(" ")[0]
    return text if any(mark in first for mark in "._/`") else text[:1].upper() + text[1:]
