"""Which files may be material, and which are passed over or refused: by their name, their kind and their content."""

from __future__ import annotations

import os
from pathlib import Path

from rlmwatch.contract.formats import USABLE, content_of
from rlmwatch.contract.ignored import ignored
from rlmwatch.contract.names import Ours, classify
from rlmwatch.contract.near_misses import near_miss, noted
from rlmwatch.contract.secrets import secret_content, secret_name
from rlmwatch.contract.text import decode
from rlmwatch.errors import InputError

REFUSED = "it holds a private key or a password, and would be sent to a model; it is refused"

_LOOKED_AT = 8192
"""Bytes in which a NUL shows that a file is no text at all, as `git` tells it."""
_SECRET_FOLDER = frozenset(
    {
        ".ssh",
        ".gnupg",
        ".aws",
        ".git",
        ".kube",
        ".docker",
        ".config",
        ".azure",
        ".gcloud",
        ".password-store",
        ".mozilla",
    }
)


class Unusable(Exception):
    """A file cannot be used as material; the text is why, and what to do."""


def text_of(raw: bytes) -> str:
    """
    Return the text of *raw*.

    Raises:
        Unusable: It is not text, or holds a secret.
    """
    if (found := content_of(raw)) is not None:
        raise Unusable(f"it is not text, but {found}")
    try:
        text = decode(raw)
    except InputError as error:
        if b"\0" in raw[:_LOOKED_AT]:
            raise Unusable(f"it is not text; {USABLE}") from None
        raise Unusable(f"it is not text that can be read ({error}); {USABLE}") from None
    if secret_content(text):
        raise Unusable(REFUSED)
    return text


def not_material(entry: os.DirEntry[str]) -> str | None:
    """Return why what lies in a folder under this name is not looked at; None where it is."""
    if entry.is_symlink():
        return "a link: not followed in a folder"
    if entry.name.lower() in _SECRET_FOLDER:
        return "its name is one of a folder with secrets"
    if (why := ignored(entry.name)) is not None:
        return why
    if entry.is_dir():
        return None
    if not entry.is_file():
        return "neither a file nor a folder"
    of_a_note = (file := noted(entry.name)) is not None and near_miss(file) is not None
    return "written by rlmwatch" if of_a_note or isinstance(classify(entry.name), Ours) else None


def may_be_material(entry: os.DirEntry[str]) -> bool:
    """Whether what lies in a folder under this name may be sent to a model, as far as its name tells."""
    return not_material(entry) is None and not secret_name(entry.name)


def is_secret(path: Path, within: Path) -> bool:
    """Whether the name of *path*, or of a folder between it and *within*, is one that secrets have."""
    return secret_name(path.name) or bool(_SECRET_FOLDER & {part.lower() for part in path.relative_to(within).parts})
