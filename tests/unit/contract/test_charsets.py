"""contract/charsets.py: texts of strangers, in whatever encoding they say that they are."""

from __future__ import annotations

import encodings
import pkgutil

import pytest

from rlmwatch.contract.charsets import codec_of, text_in

CODECS = sorted(module.name for module in pkgutil.iter_modules(encodings.__path__))
STRANGE = ["", "no-such", "a\0b", "é", "\ud800", "x" * 5000, "../utf-8", "utf-8;", "rot13", "hex", "base64", "zip", "."]


@pytest.mark.parametrize("declared", [*CODECS, *STRANGE, None])
def test_no_declaration_keeps_a_text_from_being_read(declared):
    """Whatever is declared, and whatever the bytes are, there is a text."""
    for raw in (b"", b"caf\xe9", bytes(range(256)), "Café".encode(), "Café".encode("utf-16"), b"\\u0041+AGE-"):
        assert isinstance(text_in(raw, declared), str)


@pytest.mark.parametrize(
    "declared",
    [
        None, "", "no-such", "a\0b", "idna", "undefined", "unicode_escape", "raw_unicode_escape", "hex", "rot13",
        "utf-7", "punycode", "base64", "charmap", "utf8", "UTF-8", " utf-8\n", "unicode-1-1-utf-8",
    ],
)  # fmt: skip
def test_what_declares_no_charset_is_utf_8(declared):
    """A text without a declaration, or with one that is no charset, is read as UTF-8; nothing in it is unescaped."""
    assert text_in("Café \\u0041 +AGE-".encode(), declared) == "Café \\u0041 +AGE-"


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("iso-8859-1", "cp1252"), ("Latin1", "cp1252"), ("us-ascii", "cp1252"), ("ISO8859-1", "cp1252"),
        ("iso-8859-9", "cp1254"), ("iso-8859-11", "cp874"), ("windows-874", "cp874"), ("tis-620", "cp874"),
        ("gb2312", "gb18030"), ("gbk", "gb18030"), ("big5", "big5hkscs"), ("shift_jis", "cp932"), ("x-sjis", "cp932"),
        ("euc-kr", "cp949"), ("ks_c_5601-1987", "cp949"), ("utf-16", "utf-16-le"), ("unicode", "utf-16-le"),
        ("iso-8859-8-i", "iso8859-8"), ("x-cp1251", "cp1251"), ("macintosh", "mac-roman"), ("koi8-r", "koi8-r"),
        ("iso-8859-15", "iso8859-15"), ("iso-2022-jp", "iso2022_jp"), ("cp437", "cp437"),
    ],
)  # fmt: skip
def test_a_declaration_means_what_it_means_to_browsers(declared, codec):
    """The Encoding standard says which encoding a label stands for."""
    assert codec_of(b"", declared) == codec


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("declared", ["iso-8859-1", "utf-16be", "idna", None])
def test_a_mark_goes_before_a_declaration(encoding, declared):
    """A text that begins with a byte order mark is in that encoding, and the mark is no part of it."""
    assert text_in("Café".encode(encoding), declared) == "Café"
    assert text_in(b"\xfe\xff" + "Café".encode("utf-16-be"), declared) == "Café"
