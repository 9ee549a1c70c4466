r"""
Secrets taken out of text from elsewhere, also where it does not repeat them letter by letter. Pure.

A server may echo a key in upper case, URL-encoded (also twice), as `\u0073`, `\163`, `=73` or `&#115;`, in base64 or
hexadecimal, broken by a line or a zero-width space, or only its beginning. A secret is searched for

1. letter by letter, each in any case and any of these spellings, with blanks and characters without a shape between;
2. in base64 (also as part of a longer text, such as `user:key`) and hexadecimal, likewise broken;
3. in windows of `WINDOW` letters, so that any long part is found and taken out as far as it goes.

Values below `SHORT` letters are taken out as they are, or URL-encoded: in other forms they would eat ordinary words.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

SHORT = 12
WINDOW = 12
"""Letters in a row that are enough to take them for the secret; what vendors put before all keys is about as long."""

_VISIBLE = range(0x21, 0x7F)
_FULL_WIDTH = 0xFEE0
"""From a visible letter of ASCII to its full-width form (Unicode, "Halfwidth and Fullwidth Forms")."""

_SPELLINGS = "%=\\&:,0+-/_"
"""With one of these begins what a letter may be written as, if not with the letter."""

_BETWEEN = (
    r"(?:[\s\"'+\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0]|\\[nrt]|\\u20[0-9a-f]{2}|\\ufeff|%0[ad]|<br */?>|=\r?\n|\x1b\[[0-9;]{0,9}m){0,8}"
)


@dataclass(frozen=True, slots=True)
class _Form:
    """One spelling of a secret: what each of its letters may look like, and its windows of *size* letters."""

    size: int
    letters: tuple[re.Pattern[str], ...]
    windows: re.Pattern[str]

    @classmethod
    def of(cls, text: str, spelled: Callable[[str], str], *, flags: int = 0) -> _Form:
        size = min(WINDOW, max(SHORT * 2 // 3, len(text) * 2 // 3))
        starts = [*range(0, len(text) - size, size), len(text) - size]  # the last ends with it
        letters = [spelled(letter) for letter in text]
        windows = (f"(?P<w{at}>{_BETWEEN.join(letters[at : at + size])})" for at in starts)
        each = tuple(re.compile(_BETWEEN + letter, flags) for letter in letters)
        firsts = {text[at] for at in starts}
        firsts |= {chr(ord(letter) + _FULL_WIDTH) for letter in firsts if ord(letter) in _VISIBLE} | set(_SPELLINGS)
        begins = f"(?=[{re.escape(''.join(sorted(firsts)))}])"  # passes over most of ordinary text three times as fast
        return cls(size, each, re.compile(f"{begins}(?:{'|'.join(windows)})", flags))

    def replaced(self, text: str, hidden: str) -> str:
        pieces: list[str] = []
        done = 0
        while (match := self.windows.search(text, done)) is not None:
            end, at = match.end(), int((match.lastgroup or "w0")[1:]) + self.size
            while at < len(self.letters) and (more := self.letters[at].match(text, end)) is not None:
                end, at = more.end(), at + 1
            pieces += (text[done : match.start()], hidden)
            done = end
        return "".join((*pieces, text[done:])) if pieces else text


def redact(text: str, secrets: Iterable[str], hidden: str) -> str:
    """Return *text* with *hidden* in the place of each of the *secrets*, in whatever form."""
    for secret in sorted(filter(None, set(secrets)), key=len, reverse=True):  # one may be the beginning of another
        text = text.replace(secret, hidden)
        if len(secret) < SHORT:
            text = text.replace(quote(secret, safe=""), hidden)
            continue
        for form in _forms(secret):
            text = form.replaced(text, hidden)
    return text


@lru_cache(maxsize=64)
def _forms(secret: str) -> tuple[_Form, ...]:
    raw = secret.encode("utf-8", "surrogatepass")
    return (
        _Form.of(secret, _any_spelling, flags=re.IGNORECASE),
        *(_Form.of(inner, _in_base64) for inner in _base64s(raw)),
        _Form.of(raw.hex(), _in_hex, flags=re.IGNORECASE),
    )


def _any_spelling(letter: str) -> str:
    point = ord(letter)
    percent = "".join(f"%{byte:02x}" for byte in letter.encode("utf-8", "surrogatepass"))
    wide = chr(point + _FULL_WIDTH) if point in _VISIBLE else re.escape(letter)
    escaped = rf"\\(?:u{point:04x}|U{point:08x}|u\{{{point:x}\}}|x{point:02x}|{point:03o})"
    quoted = f"{percent}|{percent.replace('%', '%25')}|{percent.replace('%', '=')}"
    return f"(?:{quoted}|{escaped}|&#0{{0,5}}{point};|&#x0{{0,5}}{point:x};|{re.escape(letter)}|{wide})"


def _in_hex(digit: str) -> str:
    """Return how *digit* may look: behind a colon, a comma, `0x` or a backslash and an x where a byte begins."""
    return rf"(?:[:,] ?|\\x)?(?:0x)?{digit}"


def _base64s(raw: bytes) -> list[str]:
    """Return what *raw* is in base64 behind 0, 1 or 2 other bytes, without what depends on its neighbours."""
    inner = []
    for before, dropped in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(b"\0" * before + raw).decode("ascii").rstrip("=")
        last = 0 if (before + len(raw)) % 3 == 0 else 1
        inner.append(whole[dropped : len(whole) - last])
    return inner


def _in_base64(letter: str) -> str:
    return {"+": r"(?:[+-]|%2[Bb])", "/": r"(?:[/_]|%2[Ff])"}.get(letter, re.escape(letter))
