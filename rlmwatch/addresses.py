"""Where an address leads: to this machine, or through a proxy; and how it is shown."""

from __future__ import annotations

import base64
import ipaddress
import re
from functools import lru_cache
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

MAX_HOST_CHARS = 253
"""Of a name in the DNS (RFC 1035); what is longer is no host."""

MAX_SHOWN_CHARS = 300
"""Of an address that a stranger names: a longer one would hide what is said of it."""


class UnusableProxy(ValueError):
    """The environment names a proxy that cannot be used. The text says what to do, and shows no login."""


@lru_cache(maxsize=64)  # asked at each call; webhooks bring any number of addresses
def is_loopback(url: str) -> bool:
    """Return whether *url* points at this machine's own loopback interface."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    if host in ("localhost", "localhost.localdomain") or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = 0x5EFE
"""The third quarter of an IPv6 address whose last is an IPv4 address, for a tunnel to that (RFC 5214)."""
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's wire server: machines there get their secrets from it
            "192.0.0.0/24",  # protocols' own; Oracle's clouds have had their metadata there
            "192.88.99.0/24",  # the next relay of 6to4, wherever that is
            "64:ff9b:1::/48",  # a NAT64 of one's own
            "fec0::/10",  # site-local
            "3fff::/20",  # of documents
        ),
    )
)
"""Networks that Python, or some version of it, takes for global (IANA's registries of special-purpose addresses)."""


def is_public(address: str) -> bool:
    """
    Return whether the IP *address* is one of the public internet: no network of one's own, no metadata service.

    What an IPv6 address carries of IPv4 (mapped, 6to4, Teredo, NAT64, ISATAP) counts as that, too.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # with a scope, which only an address of this link has, or none at all
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        last = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner.append(last)
        if ip.scope_id is not None:
            return False
        if any(inner):
            return all(is_public(str(each)) for each in inner if each is not None)
        if (int(ip) >> 32) & 0xFDFFFFFF == _ISATAP and not is_public(str(last)):
            return False
    if any(ip in network for network in _NEVER):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def proxy_to(url: str) -> str | None:
    """
    Return the proxy that the environment names for *url* (`https_proxy`, `all_proxy`, `no_proxy`, in either case).

    Clients that read the environment by themselves may also take a login from a `.netrc`, in place of a key.

    Raises:
        UnusableProxy: It is not an http or https proxy.
    """
    from urllib.request import getproxies, proxy_bypass  # takes 17 ms to load, and the first call has more to load

    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.netloc.rpartition("@")[2]):  # a proxy's loopback is not this machine's
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    names = f"{parts.scheme.upper()}_PROXY or ALL_PROXY"
    if not is_http(proxy):
        raise UnusableProxy(
            f"the proxy {shown(proxy)} ({names}) cannot be used, only http:// and https:// proxies can: name one of "
            f"those, or write {parts.hostname} into NO_PROXY"
        )
    return proxy


def is_http(url: str) -> bool:
    """Return whether *url* is a whole http or https address, without blanks and control characters."""
    if not url.isprintable() or any(map(str.isspace, url)):
        return False
    try:
        parts = urlsplit(url)
        if len(parts.hostname or "") > MAX_HOST_CHARS:
            return False
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port or brackets that are none
        return False


def shown(url: str) -> str:
    """Return *url* as it may be shown: without login, query and fragment, which may hold secrets."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # what stands there may be half a password
    except ValueError:
        return f"{url.partition('://')[0]}://…" if "://" in url else "…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def redirected(status: int, url: str, to: str | None, setting: str = "base_url") -> str:
    """Return, for a person, that *url* answers with a redirect *to* another address; *setting* says where it is set."""
    try:
        where = f"sends on to {shown(urljoin(url, to))[:MAX_SHOWN_CHARS]}" if to else "sends elsewhere"
    except ValueError:  # a server may write anything there
        where = "sends on to what is not an address"
    return f"HTTP {status}: {shown(url)} {where}. Redirects are not followed: set {setting} to the address that answers"


def without_login(url: str) -> tuple[str, str | None]:
    """Return *url* without its login, and that as the value of an `Authorization` header; None where there is none."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    if not login:
        return url, None
    user, _, password = login.partition(":")
    encoded = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode("ascii")
    return urlunsplit(parts._replace(netloc=host)), f"Basic {encoded}"


def hide_secrets(text: str) -> str:
    """Return *text* with each address in it as it may be shown."""
    return re.sub(r"\b[A-Za-z][A-Za-z0-9+.-]*://\S+", lambda found: shown(found[0]), text)
