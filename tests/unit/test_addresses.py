"""Where an address leads."""

from __future__ import annotations

import pytest

from rlmwatch.addresses import UnusableProxy, hide_secrets, is_http, is_loopback, proxy_to, shown, without_login

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8080/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://localhost:11434/v1", True),
        ("http://ollama.localhost:11434/v1", True),
        ("https://localhost.example.com/v1", False),
        ("https://127.0.0.1.example.com/v1", False),
        ("http://10.0.0.1/v1", False),
        ("https://openrouter.ai/api/v1", False),
        ("nonsense", False),
        ("http://[::1", False),
    ],
)
def test_loopback_is_told_by_address_not_by_looks(url, loopback):
    """Only this machine's own addresses are free, and need no proxy."""
    assert is_loopback(url) is loopback


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_used(monkeypatch, name):
    """A person behind a company's proxy needs no setting of ours."""
    monkeypatch.setenv(name, PROXY)
    assert proxy_to("https://openrouter.ai/api/v1") == PROXY
    assert proxy_to("http://127.0.0.1:8080/v1") is None


def test_what_the_environment_excepts_is_asked_directly(monkeypatch):
    """`no_proxy` names hosts and their parts; without a proxy there is none."""
    assert proxy_to("https://openrouter.ai/api/v1") is None
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("no_proxy", "models.example, .inner.example")
    assert proxy_to("https://models.example:8443/v1") is None
    assert proxy_to("https://llm.inner.example/v1") is None
    assert proxy_to("https://models.example.com/v1") == PROXY
    assert proxy_to("http://other.example/v1") is None


@pytest.mark.parametrize(
    "proxy",
    ["socks5://user:pw@proxy.example:1080", "socks5h://proxy.example", "socks4://p.example:1", "http://", "http://p:x"],
)
def test_a_proxy_that_is_none_of_http_is_refused_by_name(monkeypatch, proxy):
    """The text names the proxy's kind and the variables, and holds no login."""
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(UnusableProxy, match=r"HTTPS_PROXY or ALL_PROXY.*NO_PROXY") as refused:
        proxy_to("https://openrouter.ai/api/v1")
    assert proxy.partition(":")[0] in str(refused.value)
    assert "pw" not in str(refused.value)


def test_a_proxy_without_a_scheme_is_an_http_proxy(monkeypatch):
    """`proxy.example:3128` is what many write, and curl takes it so."""
    monkeypatch.setenv("https_proxy", "user:pw@proxy.example:3128")
    assert proxy_to("https://openrouter.ai/api/v1") == "http://user:pw@proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://h.example/v1", "https://h.example/v1"),
        ("https://user:p%40w@h.example:1/v1?key=k#f", "https://h.example:1/v1"),
        ("https://user:p@w@h.example/v1", "https://h.example/v1"),
        ("https://user:half/way@h.example/v1", "https://…"),
        ("https://[::1/v1?key=k", "https://…"),
        ("h.example/v1?key=k", "h.example/v1"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url, seen):
    """Login, query and fragment are never shown; nor is what may be half of a login."""
    assert shown(url) == seen


def test_the_addresses_in_a_text_are_shown_likewise():
    """What a library says may hold a whole address."""
    assert hide_secrets("host https://u:p@h.example/v1?key=k timed out, see ftp://u@x") == (
        "host https://h.example/v1 timed out, see ftp://x"
    )
    assert hide_secrets("nothing to hide: a@b, 10:30") == "nothing to hide: a@b, 10:30"


def test_a_login_is_taken_out_and_decoded():
    """What stands in an address is encoded twice: for the address, then for the header."""
    assert without_login("http://us%40er:p%3Aw@h.example:1/v1?q=1") == (
        "http://h.example:1/v1?q=1",
        "Basic dXNAZXI6cDp3",
    )
    assert without_login("http://h.example/@x") == ("http://h.example/@x", None)


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("http://h.example", True),
        ("https://u:p@h.example:8000/v1?x=1", True),
        ("HTTP://h.example", True),
        ("h.example/v1", False),
        ("ftp://h.example", False),
        ("http://", False),
        ("http://:80/", False),
        ("http://h.example:port/", False),
        ("http://[::1", False),
    ],
)
def test_an_http_address_has_a_host_and_a_port_that_is_one(url, fits):
    """Whole http and https addresses, and nothing else."""
    assert is_http(url) is fits
