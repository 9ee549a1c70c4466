"""
Mails: their headers and text, and what is attached to them.

1. Of a text that a mail holds in several forms, the plain one is taken, else the one in HTML; a form that says nothing
   does not count. What is attached to the other forms is not lost with them.
2. A mail that is attached is read as a mail, and a document as a document. Text is taken as it is.
3. What else is attached is named in its place, and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from rlmwatch.contract.charsets import codec_of, text_in
from rlmwatch.contract.formats import DOCUMENTS, content_of, suffix
from rlmwatch.contract.text import decode
from rlmwatch.documents.extract import Extract, Reader, UnreadableDocument
from rlmwatch.documents.html import markdown
from rlmwatch.errors import InputError

PAGES = frozenset({".html", ".htm", ".xhtml"})
HEADERS = ("From", "To", "Cc", "Date", "Subject")
MAX_DEPTH = 100
"""Of parts within parts, two for each mail within a mail."""


def read(raw: bytes, others: Mapping[str, Reader]) -> Extract:
    """
    Return the mail as text.

    Args:
        raw: The mail.
        others: Readers of what may be attached, by ending.

    Raises:
        UnreadableDocument: It is not a mail, or nested too deeply.
    """
    mail = message_from_bytes(raw, policy=policy.default)
    if not isinstance(mail, EmailMessage) or not any(header in mail for header in HEADERS):
        raise UnreadableDocument("it is not a mail: it has neither a sender nor a date nor a subject")
    reading = _Mail(others)
    pieces = [*reading.message(mail, 0)]
    return Extract("\n\n".join(filter(None, pieces)), tuple(reading.left_out))


@dataclass(slots=True)
class _Mail:
    others: Mapping[str, Reader]
    left_out: list[str] = field(default_factory=list)

    def message(self, mail: EmailMessage, depth: int) -> Iterator[str]:
        """Yield headers and parts of *mail*."""
        yield "\n".join(f"{name}: {value}" for name in HEADERS if (value := _header(mail, name)))
        for piece, _ in self._part(mail, depth, wanted=True):
            yield piece

    def _part(self, part: EmailMessage, depth: int, *, wanted: bool) -> Iterator[tuple[str, bool]]:
        """Yield what is in *part*, each piece with whether it is own text, which comes only where *wanted*."""
        if depth > MAX_DEPTH:
            raise UnreadableDocument("its parts are nested too deeply")
        kind, name = part.get_content_type(), _name(part)
        if kind == "message/rfc822":
            for inner in _parts(part):
                yield "[attached mail]", False
                for piece in self.message(inner, depth + 1):
                    yield piece, False
                yield "[end of the attached mail]", False
        elif part.is_multipart():
            forms = kind == "multipart/alternative"
            for inner in sorted(_parts(part), key=_plainness) if forms else _parts(part):
                says = False
                for piece, own in self._part(inner, depth + 1, wanted=wanted):
                    says = says or (own and bool(piece))
                    yield piece, own
                wanted = wanted and not (forms and says)
        elif name is not None:
            yield self._attached(part, name or kind), False
        elif wanted:
            raw, charset = _raw(part), _charset(part)
            # UTF-7 is no page's encoding, but was once a mail's (RFC 2152).
            text = raw.decode("utf-7", "replace") if charset == "utf-7" else text_in(raw, charset)
            yield (markdown(text) if kind == "text/html" else text.replace("\r\n", "\n").strip()), True

    def _attached(self, part: EmailMessage, name: str) -> str:
        try:
            text = self._text_of(name, _raw(part), _charset(part))
        except (UnreadableDocument, InputError) as error:
            self.left_out.append(f"attachment {name} ({error})")
            return f"[attachment {name} left out]"
        return f"[attachment {name}]\n{text.strip()}\n[end of {name}]"

    def _text_of(self, name: str, raw: bytes, charset: str | None) -> str:
        """
        Return the text of an attachment.

        Raises:
            UnreadableDocument: It is no text, and nothing that can be read.
            InputError: It is text that cannot be read.
        """
        ending, sign = suffix(name), content_of(raw)
        if charset is not None and sign is None and (ending in PAGES or ending not in DOCUMENTS):
            with suppress(UnicodeError):  # it is in another one, and may be UTF-8
                raw = raw.decode(codec_of(raw, charset)).encode("utf-8-sig")
        if ending in self.others:
            try:
                found = self.others[ending](raw)
            except (UnreadableDocument, MemoryError):
                raise
            except Exception as error:  # noqa: BLE001 (a broken document may raise anything)
                raise UnreadableDocument(f"{type(error).__name__}: {error}"[:200]) from None
            self.left_out += [f"{each} in {name}" for each in found.left_out]
            return found.text
        if ending in DOCUMENTS:
            raise UnreadableDocument("to read it, install rlmwatch[documents]")
        if sign is not None or b"\0" in raw:
            raise UnreadableDocument((sign or "not text").partition(":")[0])
        return decode(raw)


def _parts(part: EmailMessage) -> list[EmailMessage]:
    payload = part.get_payload()
    return [each for each in payload if isinstance(each, EmailMessage)] if isinstance(payload, list) else []


def _plainness(part: EmailMessage) -> int:
    """Return how far *part* is from plain text, as one of several forms of the same."""
    order = ("text/plain", "text/html")
    kind = part.get_content_type()
    return order.index(kind) if kind in order else len(order) + (not part.is_multipart())


def _name(part: EmailMessage) -> str | None:
    """Return the file name of an attachment, in one line; None where the part is no attachment."""
    try:
        name = part.get_filename()
    except Exception:  # noqa: BLE001 (headers of a stranger may raise anything)
        name = "without a readable name"
    if not name:
        return None if part.get_content_maintype() == "text" and part.get_content_disposition() != "attachment" else ""
    return " ".join(name.split())[:200]


def _header(mail: EmailMessage, name: str) -> str:
    try:
        value = str(mail[name] or "")
    except Exception:  # noqa: BLE001 (as above)
        value = next((str(raw) for key, raw in mail.raw_items() if key.lower() == name.lower()), "")
    return " ".join(value.split())


def _charset(part: EmailMessage) -> str | None:
    """Return the charset that *part* declares. Many that say `us-ascii` hold UTF-8, of which it is a part."""
    try:
        charset = part.get_content_charset()
    except Exception:  # noqa: BLE001 (as above)
        return None
    return None if charset == "us-ascii" else charset


def _raw(part: EmailMessage) -> bytes:
    raw = part.get_payload(decode=True)
    return raw if isinstance(raw, bytes) else b""
