"""
What the sessions of this program hold in memory, and which must end.

The kernel keeps the address space of each session below its limit. That does not count the tables by which the kernel
finds a process's pages, and it does not add sessions up. So every `LOOK_S`, while there is a session:

1. one that holds more than a session may ends;
2. where those of one run hold more than a run may, the one of them that holds most ends;
3. where all hold more than all may, the one that holds most ends;
4. 2 and 3 go on with those that are left.

A session holds its pages in memory and in swap, and their tables; not what it had when it was forked, which it shares.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()

LOOK_S = 0.05
"""A core fills 1 GB a second or two, so a limit is passed by some 100 MB; a look at a session takes 30 microseconds."""

_COUNTED = re.compile(r"^(?:RssAnon|RssShmem|VmSwap|VmPTE):\s+(\d+) kB$", re.MULTILINE)
_NO_LIMIT = 1 << 60  # a version 1 control group without a limit tells a number near 2 ** 63


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """
    How many bytes may be held.

    Attributes:
        session: By one session.
        run: By the sessions of one run: the engine's and its sub-engines'.
        total: By all sessions of this program.
    """

    session: int
    run: int
    total: int

    @classmethod
    def on_this_machine(cls, session: int) -> MemoryLimits:
        """
        Return the limits where a session's address space ends at *session* bytes.

        A run may hold as much as one session; all may hold half of what this program can have.
        """
        return cls(session, session, max(session, available_bytes() // 2))


@dataclass(frozen=True, slots=True)
class Holding:
    """What one session holds, in bytes, and whose it is; the empty run is that session's own."""

    run: str
    held: int


def excess(holdings: Mapping[int, Holding], limits: MemoryLimits) -> dict[int, str]:
    """Return which of the sessions, by their number, must end, and why."""
    ends = {
        number: f"it held more than {_mb(limits.session)}"
        for number, holding in holdings.items()
        if holding.held > limits.session
    }
    left = {number: holding for number, holding in holdings.items() if number not in ends}
    for run in {holding.run for holding in left.values()} - {""}:
        own = {number: holding for number, holding in left.items() if holding.run == run}
        why = f"the sessions of its run held more than {_mb(limits.run)} together, and it the most"
        ends |= dict.fromkeys(_largest(own, limits.run), why)
    left = {number: holding for number, holding in left.items() if number not in ends}
    why = f"all sessions held more than {_mb(limits.total)} together, and it the most"
    return ends | dict.fromkeys(_largest(left, limits.total), why)


def _largest(holdings: Mapping[int, Holding], limit: int) -> list[int]:
    """Return the sessions without which the others hold no more than *limit*, the largest first."""
    together = sum(holding.held for holding in holdings.values())
    ends = []
    for number in sorted(holdings, key=lambda number: holdings[number].held, reverse=True):
        if together <= limit:
            break
        ends.append(number)
        together -= holdings[number].held
    return ends


def held_bytes(pid: int) -> int:
    """Return what the process *pid* holds, shared or not; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
    except OSError:
        return 0
    return sum(int(kilobytes) for kilobytes in _COUNTED.findall(status)) * 1024


def available_bytes(root: Path = Path("/")) -> int:
    """Return the memory that this program can have: the machine's, or less where its control group is limited."""
    found = re.search(r"^MemTotal:\s+(\d+) kB$", (root / "proc/meminfo").read_text("utf-8"), re.MULTILINE)
    most = int(found[1]) * 1024 if found else _NO_LIMIT
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                most = min(most, _group_limit(root / "sys/fs/cgroup", path, "memory.max"))
            elif controllers == "memory":
                most = min(most, _group_limit(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes"))
    return most


def _group_limit(mount: Path, path: str, name: str) -> int:
    """Return the least limit of a control group and those that it lies in; in a container some are out of sight."""
    inner = mount / path.lstrip("/")
    limits = [_NO_LIMIT]
    for group in (inner, *inner.parents):
        if group.is_relative_to(mount):
            with suppress(OSError, ValueError):  # "max" is not a number, and no limit
                limits.append(int((group / name).read_text("utf-8")))
    return min(limits)


def _mb(size: int) -> str:
    return f"{size >> 20} MB of memory"


@dataclass(slots=True)
class _Watched:
    """One session: its process, its run, what it had when it began, and how it is ended."""

    pid: int
    run: str
    at_first: int
    end: Callable[[str], None]


class MemoryWatch:
    """Looks at the sessions of one sandbox in a thread, which lives while there are any."""

    def __init__(self, limits: MemoryLimits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._watched: dict[int, _Watched] = {}
        self._next = 0
        self._changed = threading.Event()
        self._looking = False

    def add(self, pid: int, run: str, end: Callable[[str], None]) -> int:
        """
        Watch a session that holds nothing of its own yet, and return its number.

        Args:
            pid: Of its process.
            run: Whose it is.
            end: Called at most once, in another thread, with the reason; never after `remove` has returned.
        """
        with self._lock:
            self._next += 1
            self._watched[self._next] = _Watched(pid, run, held_bytes(pid), end)
            if not self._looking:
                self._looking = True
                self._changed.clear()
                threading.Thread(target=self._look, name="rlmwatch-memory", daemon=True).start()
            return self._next

    def remove(self, number: int) -> None:
        """Watch the session no longer. Idempotent."""
        with self._lock:
            self._watched.pop(number, None)
            if not self._watched:
                self._changed.set()

    def answer(self) -> None:
        """Return as soon as no look is under way: a look that stands still holds the lock."""
        with self._lock:
            return

    def _look(self) -> None:
        while True:
            with self._lock:
                if not self._watched:
                    self._looking = False
                    return
                self._changed.clear()
                holdings = {
                    number: Holding(watched.run, max(0, held_bytes(watched.pid) - watched.at_first))
                    for number, watched in self._watched.items()
                }
                for number, why in excess(holdings, self.limits).items():
                    watched = self._watched.pop(number)
                    log.warning("sandbox.memory", pid=watched.pid, held=holdings[number].held, why=why)
                    watched.end(why)
            self._changed.wait(LOOK_S)
