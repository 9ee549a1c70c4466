"""Secrets taken out of text from elsewhere, in whatever form."""

from __future__ import annotations

import base64
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.redaction import SHORT, redact

KEY = "sk-or/v1+very=secret_0123456789abcdef"

FORMS = {
    "as it is": KEY,
    "upper case": KEY.upper(),
    "lower case": KEY.lower(),
    "URL-encoded": quote(KEY, safe=""),
    "URL-encoded in lower case": quote_plus(KEY).lower(),
    "URL-encoded whole": "".join(f"%{ord(letter):02X}" for letter in KEY),
    "line break": f"{KEY[:9]}\n{KEY[9:]}",
    "line break, escaped": repr(f"{KEY[:9]}\n{KEY[9:]}"),
    "indented": f"{KEY[:20]}\r\n    {KEY[20:]}",
    "zero-width space": f"{KEY[:9]}\u200b{KEY[9:]}",
    "between all letters": "\u2060".join(KEY),
    "soft hyphen": f"{KEY[:15]}\u00ad{KEY[15:]}",
    "JSON escapes": "".join(f"\\u{ord(letter):04x}" for letter in KEY),
    "HTML": "".join(f"&#{ord(letter)};" for letter in KEY),
    "HTML, hexadecimal": "".join(f"&#x{ord(letter):x};" for letter in KEY),
    "hexadecimal": KEY.encode().hex(),
    "HTML with leading zeros": "".join(f"&#{ord(letter):05d};&#x{ord(letter):04x};"[:8] for letter in KEY),
    "hexadecimal with colons": ":".join(f"{byte:02X}" for byte in KEY.encode()),
    "hexadecimal, byte by byte": ", ".join(f"0x{byte:02x}" for byte in KEY.encode()),
    "octal escapes": "".join(f"\\{ord(letter):03o}" for letter in KEY),
    "long escapes": "".join(f"\\U{ord(letter):08x}" for letter in KEY),
    "escapes of JavaScript": "".join(f"\\u{{{ord(letter):x}}}" for letter in KEY),
    "URL-encoded twice": quote("".join(f"%{ord(letter):02x}" for letter in KEY)),
    "quoted-printable": "".join(f"={ord(letter):02X}" for letter in KEY),
    "soft line breaks": "=\n".join(KEY[at : at + 5] for at in range(0, len(KEY), 5)),
    "strings put together": '" +\n"'.join(KEY[at : at + 5] for at in range(0, len(KEY), 5)),
    "colours of a terminal": "\x1b[31m".join(KEY[at : at + 5] for at in range(0, len(KEY), 5)),
    "full width": "".join(chr(ord(letter) + 0xFEE0) for letter in KEY),
    "prefix": KEY[:16],
    "all but the last": KEY[:-1],
    "masked": f"{KEY[:14]}****{KEY[-4:]}",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_in_every_form(form):
    """However a server spells the key that it was sent, no person and no file sees it."""
    text = redact(f"bad key <{FORMS[form]}>", [KEY], "[key]")
    assert "[key]" in text
    assert len(text) <= len("bad key <[key]****cdef>")


@pytest.mark.parametrize("before", ["", "u:", "Bearer ", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
def test_a_secret_is_found_in_base64(before, encode):
    """A login header in base64, by itself or behind other words, is as good as the key."""
    encoded = encode(f"{before}{KEY}!".encode()).decode()
    text = redact(f"header <{encoded}>", [KEY], "[key]")
    assert "[key]" in text
    left = text.replace("[key]", "").removeprefix("header <")
    assert len(left) <= len(base64.b64encode(before.encode())) + 6


@pytest.mark.parametrize(
    "text", ["the secret is out", "sk-or", "a very secret value", "SECRET_0123", "", "0123456789", "v1"]
)
def test_ordinary_words_stay(text):
    """Words that a key happens to hold are not taken for it."""
    assert redact(text, [KEY, "secret-value"], "[key]") == text


def test_a_short_secret_is_taken_out_as_it_is_alone():
    """A short password in another case or broken up is an ordinary word."""
    assert redact("hunter2 HUNTER2 hunter%32", ["hunter2"], "[key]") == "[key] HUNTER2 hunter%32"
    assert redact("p%40ss/1 p@ss/1 p%40ss%2F1", ["p@ss/1"], "[key]") == "p%40ss/1 [key] [key]"


def test_the_longest_secret_goes_first():
    """A secret that begins with another is taken out whole."""
    assert redact("abcdefghijklmnop", ["abcdefghijkl", "abcdefghijklmnop"], "[key]") == "[key]"


@given(st.text(alphabet="abc-_%\\u0 \n", min_size=SHORT, max_size=60), st.text(max_size=60))
def test_no_secret_survives(secret, around):
    """Whatever a secret is made of, the text afterwards does not hold it."""
    assert secret not in redact(f"{around}{secret}{around}", [secret], "[key]")


def test_the_end_of_a_secret_is_found():
    """The last letters are as much of a key as the first."""
    short = KEY[:21]
    assert redact(f"bad key <{short[-12:]}>", [short], "[key]") == "bad key <[key]>"
