"""
Which encoding a text of strangers is in, by what its server, page or mail declares. Pure.

1. A byte order mark goes before any declaration.
2. A declaration means what it means to browsers (the Encoding standard of the WHATWG): `iso-8859-1` is Windows-1252.
3. What declares nothing, or no charset, is UTF-8: also where Python has a codec of that name (`idna`, `hex`).
"""

from __future__ import annotations

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What a text begins with → the codec that takes it off."""
_BROWSERS_READ = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf-16": "utf-16-le",
}
"""What a page declares, as Python names it → what every browser takes it for: a superset."""
_LABELS = {
    label: codec
    for codec, labels in {
        "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
        "iso8859-2": "iso88592",
        "iso8859-3": "iso88593",
        "iso8859-4": "iso88594",
        "iso8859-5": "iso88595",
        "iso8859-6": "iso88596 iso-8859-6-e iso-8859-6-i csiso88596e csiso88596i",
        "iso8859-7": "iso88597 sun_eu_greek",
        "iso8859-8": "iso88598 iso-8859-8-e iso-8859-8-i csiso88598e csiso88598i logical visual",
        "iso8859-10": "iso885910",
        "iso8859-13": "iso885913",
        "iso8859-14": "iso885914",
        "iso8859-15": "iso885915 csisolatin9",
        "koi8-r": "koi koi8",
        "koi8-u": "koi8-ru",
        "mac-roman": "mac x-mac-roman csmacintosh",
        "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
        "cp874": "windows-874 dos-874 iso885911",
        "cp1252": "iso88591",
        "cp1254": "iso88599",
        "gb18030": "x-gbk gb_2312 gb_2312-80 csgb2312",
        "big5hkscs": "cn-big5 x-x-big5",
        "euc_jp": "x-euc-jp cseucpkdfmtjapanese",
        "cp932": "windows-31j x-sjis",
        "cp949": "windows-949 ks_c_5601-1989 ksc_5601 iso-ir-149 cseuckr csksc56011987",
        "utf-16-le": "unicode ucs-2 iso-10646-ucs-2 csunicode unicodefeff",
        "utf-16-be": "unicodefffe",
    }.items()
    for label in labels.split()
} | {f"x-cp{page}": f"cp{page}" for page in range(1250, 1259)}
"""Labels of the standard that Python does not know."""
_NO_CHARSETS = frozenset(
    {"charmap", "idna", "palmos", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
)
"""Text codecs of Python's that no page is written in; UTF-7 is one that no browser reads."""


def codec_of(raw: bytes, declared: str | None) -> str:
    """Return Python's name of the encoding of *raw*, for which its stranger *declared* a charset, or none."""
    marked = next((codec for mark, codec in _MARKS if raw.startswith(mark)), None)
    return marked or _codec_named((declared or "").strip().lower()) or "utf-8"


def text_in(raw: bytes, declared: str | None) -> str:
    """Return the text of *raw*; what is no character of its encoding becomes U+FFFD. Never raises."""
    return raw.decode(codec_of(raw, declared), "replace")


def _codec_named(label: str) -> str | None:
    try:
        name = codecs.lookup(_LABELS.get(label, label)).name
        b"a".decode(name, "replace")  # raises where it does not turn bytes into text
    except (LookupError, ValueError):
        return None
    return None if name in _NO_CHARSETS else _BROWSERS_READ.get(name, name)
