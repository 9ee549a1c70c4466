"""
Read `rlmwatch.toml`, which may come from elsewhere: whatever stands in its place, reading it ends, and soon.

1. Only a regular file directly in the workspace is opened: no link, pipe, device or folder.
2. It has at most `MAX_BYTES` bytes, is UTF-8 (or UTF-16 with its byte order mark), and no key has more than
   `MAX_PARTS` parts: tomllib takes time by the square of that.
3. Everything that is wrong with it is a ConfigError that names the file and says what to do.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
import tomllib
from pathlib import Path, PurePath
from typing import Any

from rlmwatch.contract.text import decode
from rlmwatch.errors import ConfigError, InputError

WORKSPACE_FILE = "rlmwatch.toml"
MAX_BYTES = 64 * 1024
"""Of the file: our own sample has 1 KB."""
MAX_HOST_CHARS = 300
"""Of `host`: a name has 253 at most (RFC 1035), its id nine."""
MAX_PARTS = 50
"""Of one dotted key; ours have two."""

_PART = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MAX_PARTS},}}")


def read_text(root: Path) -> str:
    """
    Return the text of `rlmwatch.toml` in *root*, line ends as they are; empty where there is none. Blocks.

    Raises:
        ConfigError: It is no plain file, too large, no text, or cannot be read.
    """
    path = root / WORKSPACE_FILE
    try:
        raw = _read(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigError(f"{path}: is a link, which is not followed. Put a copy of the file there.") from None
        if error.errno == errno.ENXIO:
            raise _no_file(path) from None
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}.") from None
    return text_of(path, raw)


def text_of(path: PurePath, raw: bytes) -> str:
    """
    Return the text of *raw*, the bytes of the file *path* (or the first `MAX_BYTES` + 1), line ends as they are.

    Raises:
        ConfigError: It is too large, or no text.
    """
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES // 1024} KB. Make it shorter.")
    try:
        decode(raw)
    except InputError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return raw.decode("utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def _read(path: Path) -> bytes:
    """Return the first `MAX_BYTES` + 1 bytes of the file at *path*."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _no_file(path)
        with open(fd, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(fd)


def _no_file(path: Path) -> ConfigError:
    what = "a folder, a pipe, a socket or a device"
    return ConfigError(f"{path}: {what} stands where this file belongs. Move it away.")


def parse(root: Path, text: str) -> dict[str, Any]:
    """
    Return the values in *text*, that of `rlmwatch.toml` in *root*; `host`, where there is one, is a str.

    Raises:
        ConfigError: It is not TOML, is nested too deep, or its `host` is not text.
    """
    path = root / WORKSPACE_FILE
    refuse_long_keys(path, text)
    values = parse_toml(path, text)
    host = values.get("host", "")
    if not isinstance(host, str):
        raise ConfigError(f'{path}: host: write the machine\'s name as a text: host = "name".')
    if len(host) > MAX_HOST_CHARS:
        raise ConfigError(f"{path}: host: no machine's name has more than {MAX_HOST_CHARS} characters.")
    return values


def refuse_long_keys(path: PurePath, text: str) -> None:
    """
    Return if no key in *text*, that of the TOML file *path*, has too many parts.

    Raises:
        ConfigError: One has.
    """
    if _LONG_KEY.search(text):
        raise ConfigError(f"{path}: a key has more than {MAX_PARTS} parts. Write a shorter one.")


def parse_toml(path: PurePath, text: str) -> dict[str, Any]:
    """
    Return the values in *text*, that of the TOML file *path*.

    Raises:
        ConfigError: It is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: no valid TOML: it is nested too deep.") from None
    except ValueError as error:  # TOMLDecodeError, and a number that Python takes for too long
        raise ConfigError(f"{path}: no valid TOML: {error}") from None
