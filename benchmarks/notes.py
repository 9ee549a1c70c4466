"""
What `tools: files` costs: first build of the index, bringing it up to date, a query, and memory.

    python benchmarks/notes.py [--notes 2000 20000] [--queries 20]

Notes of some 1.1 KB with words of a made language, in 50 folders, at rest for longer than the index distrusts.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path

import structlog

from rlmwatch.search.base import SearchQuery
from rlmwatch.search.notes import NOTES_INDEX, NoteSearch

LONG_AGO = 1_600_000_000
WORDS = tuple(f"w{n:05d}" for n in range(20_000))
WORDS_OF_A_NOTE = 160
CHANGED = 20
"""Notes that are changed before the index is brought up to date."""
SETTLED_S = 2.1
"""The index reads again what was written less than 2 s before."""


def write(root: Path, notes: int, dice: random.Random) -> None:
    """Write *notes* notes."""
    for n in range(notes):
        file = root / f"folder{n % 50:02d}" / f"note {n}.md"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# Note {n}\n\n{' '.join(dice.choices(WORDS, k=WORDS_OF_A_NOTE))}\n", encoding="utf-8")
        os.utime(file, (LONG_AGO, LONG_AGO))


def peak_mb() -> float:
    """Return the most memory that this process had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(notes: int, queries: int) -> None:
    """Measure one size in an empty folder."""
    dice = random.Random(notes)  # noqa: S311 (the same notes each time)
    with tempfile.TemporaryDirectory() as folder:
        root, index = Path(folder, "notes"), Path(folder, "state", NOTES_INDEX)
        root.mkdir()
        write(root, notes, dice)
        time.sleep(SETTLED_S)
        search = NoteSearch(lambda: root, index)

        def seconds(query: str) -> float:
            began = time.perf_counter()
            asyncio.run(search.search(SearchQuery(query, text_chars=8_000)))
            return time.perf_counter() - began

        before = peak_mb()
        first = seconds("w00001 w00002")
        memory = peak_mb() - before
        usual = statistics.median(seconds(" ".join(dice.choices(WORDS, k=4))) for _ in range(queries))
        for n in range(CHANGED):
            (root / f"folder{n % 50:02d}" / f"note {n}.md").write_text("# New\n\nanother text\n", encoding="utf-8")
        update = seconds("another text")
        size = index.stat().st_size / 1e6
    print(
        f"{notes:6,} notes: first search {first:.2f} s, later ones {usual:.3f} s, with {CHANGED} changed "
        f"{update:.3f} s; memory + {memory:.1f} MB, index {size:.1f} MB"
    )


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--queries", type=int, default=20)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for notes in options.notes:
        measure(notes, options.queries)


if __name__ == "__main__":
    main()
