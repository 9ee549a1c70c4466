"""Where an address leads: to this machine, or through a proxy."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit


@lru_cache(maxsize=64)  # asked at each call; webhooks bring any number of addresses
def is_loopback(url: str) -> bool:
    """Return whether *url* points at this machine's own loopback interface."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host in ("localhost", "localhost.localdomain") or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_to(url: str) -> str | None:
    """
    Return the proxy that the environment names for *url* (`https_proxy`, `all_proxy`, `no_proxy`, in either case).

    Clients that read the environment by themselves may also take a login from a `.netrc`, in place of a key.
    """
    from urllib.request import getproxies, proxy_bypass  # takes 17 ms to load, and the first call has more to load

    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.netloc.rpartition("@")[2]):  # a proxy's loopback is not this machine's
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def shown(url: str) -> str:
    """Return *url* as it may be shown: without login, query and fragment, which may hold secrets."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # what stands there may be half a password
    except ValueError:
        return f"{url.partition('://')[0]}://…" if "://" in url else "…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
