"""Where an address leads."""

from __future__ import annotations

import pytest

from rlmwatch.addresses import is_loopback, proxy_to

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
