"""Web pages in questions: nothing of this machine or its network is ever asked, whoever wrote the question."""

from __future__ import annotations

import asyncio
import socket

import pytest
from servers.page_server import PageServer, page, redirect
from system.harness import Home, asked

from rlmwatch.addresses import is_public
from rlmwatch.errors import InputError
from rlmwatch.search.fetch import fetch

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%lo", "fd00::1",
    "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "",
    "localhost", "2606:4700::1111%lo", "168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::a83f:8110",
    "2002:a83f:8110::", "192.0.0.1", "192.0.0.9", "192.0.0.10", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "100.100.100.200", "0.1.2.3", "fec0::1", "feff::1", "fd00:ec2::254", "2001:db8::1", "3fff::1", "100::1",
    "64:ff9b::a00:1", "64:ff9b:1::808:808", "2001:0:a00:1::f7f7:f7f7", "2001:0:808:808::f5ff:fffe",
    "2002:a00:1::", "2002:c0a8:101::1", "::ffff:0:10.0.0.1",
    "::10.0.0.1", "2606:4700::5efe:a00:1", "2606:4700::200:5efe:a9fe:a9fe", "fe80::5efe:808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_a_network_of_ones_own_is_not_public(address: str):
    """Loopback, private, link-local, shared, multicast and reserved addresses are refused, in every disguise."""
    assert not is_public(address)


@pytest.mark.parametrize("address", [
    "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2001:0:808:808::f7f7:f7f7",
    "168.63.129.17", "192.0.1.1", "192.88.98.1", "2606:4700::5efe:808:808",
])  # fmt: skip
def test_an_address_of_the_internet_is_public(address: str):
    """What everybody can reach may be fetched, also through a translated network."""
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433", "127.1", "0"]
)
def test_no_way_of_writing_this_machine_leads_to_it(host: str):
    """Names, other notations and mapped addresses of this machine get no connection."""

    async def tried() -> list[str]:
        async with PageServer({"/": page("secret")}) as server:
            with pytest.raises(InputError):
                await fetch(server.url("/", host))
            return server.heads

    assert asyncio.run(tried()) == []


def only(*allowed: str):
    """Return a rule by which *allowed* stand for the public internet, on this machine."""
    return lambda address: address in allowed


def test_a_redirect_is_looked_at_like_the_first_address():
    """A public page that leads to this machine or its network is not followed there."""

    async def tried() -> tuple[str, list[str]]:
        async with PageServer({"/secret": page("secret")}) as inner, PageServer() as outer:
            outer.pages["/"] = redirect(inner.url("/secret", "127.0.0.2"))
            with pytest.raises(InputError) as error:
                await fetch(outer.url("/"), may_connect=only("127.0.0.1"))
            return str(error.value), inner.heads

    said, heads = asyncio.run(tried())
    assert "not an address of the public internet" in said
    assert heads == []


def test_the_connection_is_made_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch):
    """A name that is public when it is looked up and this machine a moment later (DNS rebinding) leads nowhere."""
    answers = iter(["127.0.0.2", "127.0.0.1", "127.0.0.1"])
    looked_up = []
    real = socket.getaddrinfo

    def rebinding(host, *rest, **more):
        if host == "rebind.example":
            looked_up.append(host)
            host = next(answers)
        return real(host, *rest, **more)

    async def tried() -> list[str]:
        async with PageServer({"/": page("secret")}) as server:
            with pytest.raises(InputError):
                await fetch(server.url("/", "rebind.example"), may_connect=only("127.0.0.2"))
            return server.heads

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert asyncio.run(tried()) == []
    assert looked_up == ["rebind.example"]


def test_a_name_with_one_private_address_among_others_is_refused(monkeypatch: pytest.MonkeyPatch):
    """All addresses of a name are looked at, not only the first."""
    real = socket.getaddrinfo

    def both(host, port, *rest, **more):
        if host != "both.example":
            return real(host, port, *rest, **more)
        return [found for address in ("127.0.0.1", "127.0.0.2") for found in real(address, port, *rest, **more)]

    async def tried() -> list[str]:
        async with PageServer({"/": page("hello")}) as server:
            with pytest.raises(InputError, match="not a host of the public internet"):
                await fetch(server.url("/", "both.example"), may_connect=only("127.0.0.1"))
            return server.heads

    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert asyncio.run(tried()) == []


def test_no_proxy_and_no_stored_login_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """What the environment says of proxies and logins is for providers: a proxy would look up names by itself."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")

    async def fetched() -> dict[str, str]:
        async with PageServer({"/": page("hello")}) as server:
            await fetch(server.url("/"), may_connect=only("127.0.0.1"))
            return server.headers()

    assert "authorization" not in asyncio.run(fetched())


def test_a_workspace_cannot_allow_web_pages(home: Home):
    """`[web]` in `rlmwatch.toml`, which may come from elsewhere, is an error, and nothing is fetched or asked."""
    home.save("rlmwatch.toml", "[web]\npages = true\n")
    assert home.cli("doctor", str(home.workspace)).returncode != 0
    said = home.cli("run", "--once", "--yes", str(home.workspace))
    assert "web" in said.stderr
    assert home.provider is not None
    assert home.provider.count == 0


def test_a_page_is_not_fetched_without_the_users_leave_nor_from_this_machine_with_it(home: Home):
    """Without `[web] pages` the question is held and says how to allow it; with it, this machine is still refused."""
    home.save("page_input.txt", "What says @http://127.0.0.1:9/secret?")
    with home.daemon() as daemon:
        daemon.wait("run.held", path="page_input.txt")
        home.appears("page_error.txt", "[web]")
        home.set("[web]\npages = true\n")
        daemon.hup()
        daemon.wait("run.failed", path="page_input.txt")
    assert "not an address of the public internet" in home.read("page_error.txt")
    assert home.provider is not None
    assert asked(home.provider, "What says") == []
