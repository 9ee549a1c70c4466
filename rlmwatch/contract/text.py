r"""
From the bytes of an input to its text.

The rules (file contract, section 2):

1. The digest is of the bytes as they lie on the disk: the same bytes are the same save.
2. Bytes are UTF-8; a byte order mark says UTF-8 or UTF-16 and is dropped. Anything else is an error for the person.
3. Line ends are `\n`, whichever way the editor writes them. Nothing else is changed: no Unicode normalisation.
4. White space and NUL bytes alone are blank: no save.
5. A NUL in a text is an error for the person: a half-written file, UTF-16 without its mark, or no text at all.
6. With a ready marker, only a text whose last non-blank line is the marker is a save; the marker is dropped.
7. What `git` leaves of a conflict is an error for the person.

Lines and columns are those of the file, from 1; a column counts characters.
"""

from __future__ import annotations

import re
from hashlib import sha256

from rlmwatch.errors import InputError

_BOMS = (
    # UTF-32 begins like UTF-16 does, so it is asked first.
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)

_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(n) for n in range(0xFE00, 0xFE10)}
"""Letters and marks that print as nothing and are no spaces to Unicode: fillers, joiners, Braille's blank."""

_CONFLICT = tuple(re.compile(line, re.MULTILINE) for line in (r"^<<<<<<< ", r"^=======[ \t]*$", r"^>>>>>>> "))
"""The three lines of a conflict, in their order."""


def digest(raw: bytes) -> str:
    """Return the name of this content, `sha256:<64 hex digits>`."""
    return f"sha256:{sha256(raw).hexdigest()}"


def is_blank(content: bytes | str) -> bool:
    """Whether there is nothing but white space and NULs, a byte order mark aside; bytes need not be text."""
    if isinstance(content, str):
        return not content.replace("\0", "").replace("\ufeff", "").strip()
    mark, _ = _mark(content)
    return not content.removeprefix(mark).strip(b"\0 \t\r\n\v\f")


def is_unseen(text: str) -> bool:
    """Whether *text* holds nothing that can be seen: white space, zero-width and control characters alone."""
    return all(char.isspace() or not char.isprintable() or char in _BLANK_LETTERS for char in text)


def decode(raw: bytes) -> str:
    r"""
    Return the text of *raw*, with `\n` line ends and without its byte order mark.

    Raises:
        InputError: It is no UTF-8 and no marked UTF-16, or holds a NUL; line and column say where.
    """
    mark, encoding = _mark(raw)
    if encoding == "utf-32":
        raise InputError("the file is UTF-32: save it as UTF-8", line=1, column=1)
    payload = raw[len(mark) :]
    try:
        text = payload.decode(encoding)
    except UnicodeDecodeError as error:
        before = payload[: error.start].decode(encoding)
        line, column = _position(before)
        raise InputError(_undecodable(payload, error, encoding), line=line, column=column) from None
    if "\0" in text:
        line, column = _position(text[: text.index("\0")])
        raise InputError(
            "a NUL byte: the file is not text, was not written to its end, or is UTF-16 without a byte order mark; "
            "save it again as UTF-8",
            line=line,
            column=column,
        )
    return _plain_line_ends(text)


def without_marker(text: str, marker: str) -> str | None:
    """
    Return *text* up to its ready marker, or None where its last non-blank line is not *marker*.

    White space after the marker cannot be seen in an editor and does not count; before it, it does.
    """
    written = text.rstrip()
    before, newline, last = written.rpartition("\n")
    return before + newline if last == marker.rstrip() else None


def refuse_conflict(text: str) -> None:
    """
    Pass a text that holds no conflict left by `git`: `<<<<<<< `, `=======`, `>>>>>>> ` at line starts, in that order.

    Raises:
        InputError: It does; the line is that of the first.
    """
    if "<<<<<<< " not in text:  # ten times as fast as the expressions, for the large ones
        return
    first = at = 0
    for number, line in enumerate(_CONFLICT):
        found = line.search(text, at)
        if found is None:
            return
        first = found.start() if number == 0 else first
        at = found.end()
    raise InputError(
        "a conflict that git left: keep one of the two versions and delete the lines <<<<<<<, ======= and >>>>>>> "
        "(to ask about such lines, indent them)",
        line=_position(text[:first])[0],
        column=1,
    )


def _mark(raw: bytes) -> tuple[bytes, str]:
    """Return the byte order mark of *raw* and the encoding that it says."""
    return next(((mark, encoding) for mark, encoding in _BOMS if raw.startswith(mark)), (b"", "utf-8"))


def _position(before: str) -> tuple[int, int]:
    """Return line and column of the character that follows *before*."""
    lines = _plain_line_ends(before)
    return lines.count("\n") + 1, len(lines) - lines.rfind("\n")


def _plain_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _undecodable(payload: bytes, error: UnicodeDecodeError, encoding: str) -> str:
    if encoding != "utf-8":
        return f"the file begins as UTF-16 and is broken here ({error.reason}): save it again, best as UTF-8"
    return f"byte 0x{payload[error.start]:02X} is not UTF-8 (perhaps Latin-1 or Windows-1252): save the file as UTF-8"
