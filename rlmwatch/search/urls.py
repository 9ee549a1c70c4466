"""
When two addresses are the same page.

Pure. Two URLs are taken for one page where they differ only in

1. the scheme (http, https), the case of the host, a leading `www.`, the default port;
2. the fragment;
3. slashes at the end of the path;
4. parameters that follow visitors around and say nothing about the page (`utm_…`, `gclid`, ...);
5. how a character is written (`%C3%BC` or `ü`, an international host or its ASCII form).

The order of parameters counts, and so does the case of the path.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

_TRACKING = frozenset(
    {
        "fbclid", "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "msclkid", "yclid", "ttclid", "twclid", "igshid",
        "mc_cid", "mc_eid", "mkt_tok", "_ga", "_gl", "_hsenc", "_hsmi", "ref_src", "ref_url", "srsltid", "vero_id",
    }
)  # fmt: skip
_DEFAULT_PORTS = (None, 80, 443)


def same(url: str) -> str:
    """Return what is equal for all addresses of the page *url*; `""` where it is not an address of the web."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a port that is not a number, half an IPv6 address
        return ""
    if parts.scheme.lower() not in ("http", "https") or not host:
        return ""
    asked = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=None)
    query = urlencode([(name, value) for name, value in asked if not _tracks(name)])
    where = _ascii(host).removeprefix("www.") + ("" if port in _DEFAULT_PORTS else f":{port}")
    path = unquote(parts.path).rstrip("/")
    return f"{where}{path}" + (f"?{query}" if query else "")


def is_web(url: str) -> bool:
    """Return whether *url* is an http or https address that can be written as one word."""
    return bool(same(url)) and url.isprintable() and not any(sign.isspace() or sign in '<>"' for sign in url)


def _tracks(name: str) -> bool:
    return name.lower().startswith("utm_") or name.lower() in _TRACKING


def _ascii(host: str) -> str:
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host
