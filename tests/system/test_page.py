"""The page of a real daemon: what it shows, who may see it, and that it never harms the daemon."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import stat
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from servers.openai_server import OpenAIServer
from system.browser import CHROMIUM, Browser
from system.daemon import DEADLINE_S, Daemon
from system.harness import KEY, Brain, Home

from rlmwatch.page.server import ANYWAY_S, MAX_CONNECTIONS

PAGE = "127.0.0.1:0"
"""The system chooses the port: tests run side by side."""

SOON_S = ANYWAY_S * 2 / 3
"""A page that hears of nothing is made anew after `ANYWAY_S`: what comes before that was told."""


@pytest.fixture
def brain():
    return Brain()


@pytest.fixture
def home(tmp_path, brain):
    with OpenAIServer(brain) as provider:
        yield Home(tmp_path, provider)


def kept(home: Home) -> Path:
    """Return the file that holds the page's address."""
    (state,) = home.states.glob("rlmwatch/*/ledger.sqlite3")
    return state.parent / "page"


def address(home: Home, daemon: Daemon) -> str:
    """Return the whole address of the page, once it is served."""
    daemon.wait("page.ready")
    url: str = json.loads(kept(home).read_text())["url"]
    return url


@contextmanager
def asked(url: str, path: str = "", *, method: str = "GET", timeout_s: float = DEADLINE_S, **headers: str):
    """Ask for *path* below the page's address, with *headers* in place of the usual ones; yield the reply."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)) as line:
        line.putrequest(method, path if path.startswith("/") else parts.path + path, skip_host=True)
        for name, value in {"Host": parts.netloc, **headers}.items():
            if value:
                line.putheader(name, value)
        line.endheaders()
        yield line.getresponse()


def page(url: str, path: str = "") -> str:
    with asked(url, path) as reply:
        assert reply.status == 200
        return reply.read().decode()


def links(source: str) -> list[str]:
    return [link.replace("&amp;", "&") for link in re.findall(r'href="\./(\?[^"]*run=[^"]*)"', source)]


def test_without_the_setting_nothing_listens(home):
    """Nobody asked for the page: no port is opened, and no address is kept."""
    home.save("chat_input.txt", "Hello")
    with home.daemon() as daemon:
        daemon.answered("chat_output.txt")
        assert [line for line in daemon.log if line["event"].startswith("page.")] == []
        assert not kept(home).exists()
        maps = Path(f"/proc/{daemon.pid}/net/tcp").read_text().splitlines()
        inodes = {fd.readlink().name for fd in Path(f"/proc/{daemon.pid}/fd").iterdir() if fd.is_symlink()}
        listens = [line.split() for line in maps[1:] if line.split()[3] == "0A"]
        assert [each for each in listens if f"socket:[{each[9]}]" in inodes] == []


def test_the_page_shows_a_run_without_a_script(home):
    """Question, answer, what was asked and said are in the HTML as it comes: no script is needed to read them."""
    home.save("notes/paris_input.txt", "What is the capital of France?")
    with home.daemon("--page", PAGE) as daemon:
        daemon.answered("notes/paris_output.txt")
        url = address(home, daemon)
        first = page(url)
        for words in ("What is the capital of France?", "re: What is the capital", "notes/paris_input.txt", "answered"):
            assert words in first
        run = page(url, links(first)[0])
        for words in ("Calls (1)", "Sent as user", "re: What is the capital of France?", "gpt-4.1-mini"):
            assert words in run
        assert str(home.workspace) in page(url, links(first)[0].partition("&")[0])


def test_it_is_told_at_once_when_something_changes(home):
    """Who watches hears of a save within seconds, and finds its answer on the page then."""
    with home.daemon("--page", PAGE) as daemon:
        url = address(home, daemon)
        with asked(url, "events", timeout_s=SOON_S) as stream:
            assert stream.status == 200
            assert stream.getheader("Content-Type").startswith("text/event-stream")
            assert [stream.readline(), stream.readline()] == [b"retry: 3000\n", b"\n"]
            home.save("chat_input.txt", "Hello there")
            daemon.answered("chat_output.txt")
            assert [stream.readline(), stream.readline()] == [b"data: changed\n", b"\n"]
            assert "re: Hello there" in page(url)
            assert daemon.stop() == 0  # a window that follows holds nothing up
            with suppress(http.client.IncompleteRead):
                stream.read()


def test_only_this_machine_s_own_names_are_answered(home):
    """A name that leads here from elsewhere (DNS rebinding), no name and two names are refused; ours are not."""
    with home.daemon("--page", PAGE) as daemon:
        url = address(home, daemon)
        port = urlsplit(url).port
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
            with asked(url, Host=host) as reply:
                assert reply.status == 200, host
        strange = (
            f"evil.example:{port}",
            "127.0.0.1",
            "localhost:1",
            f"127.0.0.1.evil.example:{port}",
            f"127.1:{port}",
        )
        for host in (*strange, ""):
            with asked(url, Host=host) as reply:
                assert reply.status in (400, 421), host
                assert "Hello" not in reply.read().decode()


def test_only_who_knows_the_token_sees_anything(home):
    """Another user of the machine, who can connect but does not know the address, learns nothing."""
    home.save("chat_input.txt", "a private question")
    with home.daemon("--page", PAGE) as daemon:
        daemon.answered("chat_output.txt")
        url = address(home, daemon)
        token = urlsplit(url).path.strip("/")
        wrong = (
            "/",
            f"/{token}",
            f"/{token[:-1]}/",
            f"/{token}x/",
            "/events",
            "/%00/",
            f"//{token}/",
            f"/x/../{token}/",
        )
        for path in wrong:
            with asked(url, path) as reply:
                assert reply.status == 403, path
                assert "private" not in reply.read().decode()
        with asked(url, f"/{token}/other") as reply:
            assert reply.status == 404
        assert kept(home).stat().st_mode & 0o777 == stat.S_IRUSR | stat.S_IWUSR
        assert f"page  {url}" in home.cli("status", "-w", str(home.workspace)).stdout
    assert token not in daemon.said
    assert not kept(home).exists()
    assert (
        "page" not in json.loads(home.cli("status", "-w", str(home.workspace), "--json").stdout)
        or not json.loads(home.cli("status", "-w", str(home.workspace), "--json").stdout)["page"]
    )


def test_it_can_only_be_read(home):
    """GET and HEAD are answered, with headers that keep other sites out; every other method is refused."""
    with home.daemon("--page", PAGE) as daemon:
        url = address(home, daemon)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"):
            with asked(url, method=method, Origin="http://evil.example") as reply:
                assert reply.status in (400, 405), method
                assert reply.getheader("Access-Control-Allow-Origin") is None
        with asked(url, method="HEAD") as reply:
            assert (reply.status, reply.read()) == (200, b"")
            policy = reply.getheader("Content-Security-Policy")
            assert policy.startswith("default-src 'none'; ")
            assert "unsafe" not in policy
            for name, value in {
                "Cross-Origin-Resource-Policy": "same-origin",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "no-store",
                "Set-Cookie": None,
                "Access-Control-Allow-Origin": None,
            }.items():
                assert reply.getheader(name) == value, name


def test_hostile_texts_stay_texts(home, brain):
    """Names, questions and answers with markup, controls or the user's key in them are shown harmless."""
    brain.on("markup", f"<img src=x onerror=alert(1)> \u202e {KEY} </pre><script>alert(2)</script>")
    home.save("<b>x'\" &amp;_input.txt", "markup <script>alert(3)</script>")
    home.save("jobs/20991231T235959Z-chat-ffffff.json", "[" * 90_000)
    home.save("jobs/20991231T235958Z-chat-ffffff.json", b'{"status":"complete","answer":"' + b"y" * 3_000_000 + b'"}')
    with home.daemon("--page", PAGE) as daemon:
        daemon.wait("answer.written")
        url = address(home, daemon)
        first = page(url)
        run = page(url, next(link for link in links(first) if "ffffff" not in link))
        for source in (first, run):
            assert source.count("<script>") == 1
            assert "<img" not in source
            assert "<b>" not in source
            assert "\u202e" not in source
            assert KEY not in source
        assert "&lt;b&gt;x&#x27;&quot; &amp;amp;_input.txt" in first
        assert "&lt;img src=x onerror=alert(1)&gt; \\u202e [secret] &lt;/pre&gt;" in run
        with asked(url, "?workspace=..%2f..&run=..%2f..%2fetc%2fpasswd") as reply:
            assert reply.status == 404


def test_a_port_that_is_taken_is_said_and_harms_nothing(home):
    """The daemon says that the page has no port, goes on answering, and the workspace's file opens no port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        home.save("chat_input.txt", "Hello")
        with home.daemon("--page", f"127.0.0.1:{port}") as daemon:
            said = daemon.wait("page.unavailable")
            assert said["why"] == "another program has this port"
            daemon.answered("chat_output.txt")


def test_of_two_daemons_with_one_line_in_the_settings_the_first_shows_the_page(home):
    """A second daemon of the same user says that the page is shown already, which is no warning."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    home.set(f'page = "127.0.0.1:{port}"\n')
    other = Home(home.root / "elsewhere", home.provider)
    other.variables = {"XDG_STATE_HOME": str(home.states), "XDG_CONFIG_HOME": str(home.config.parent)}
    with home.daemon() as first:
        first.wait("page.ready")
        with other.daemon() as second:
            second.wait("page.elsewhere")
            assert second.seen("page.unavailable") == []


def test_an_address_that_others_reach_is_refused(home):
    """`--page 0.0.0.0:…` starts nothing, and says what to write instead."""
    for wrong in ("0.0.0.0:8765", "192.168.0.7:8765"):
        ended = home.cli("run", str(home.workspace), "--page", wrong)
        assert ended.returncode == 2
        assert "127.0.0.1:PORT" in ended.stderr


def test_connections_that_say_nothing_are_limited(home):
    """Somebody who opens connections without end holds so many at most; the daemon goes on answering."""
    with home.daemon("--page", PAGE) as daemon:
        url = address(home, daemon)
        parts = urlsplit(url)
        lines = [socket.create_connection((parts.hostname, parts.port), DEADLINE_S) for _ in range(MAX_CONNECTIONS + 3)]
        try:
            refused = 0
            for line in lines[MAX_CONNECTIONS:]:
                line.settimeout(DEADLINE_S)
                try:
                    refused += line.recv(1) == b""
                except ConnectionResetError:
                    refused += 1
            assert refused == 3
            home.save("chat_input.txt", "Hello")
            daemon.answered("chat_output.txt")
        finally:
            for line in lines:
                line.close()
        assert "Hello" in page(url)


def test_who_sends_nonsense_gets_an_error_and_no_line_in_the_log(home):
    """Broken requests, endless headers and a body that never comes are refused; none of it fills the log."""
    with home.daemon("--page", PAGE) as daemon:
        url = address(home, daemon)
        parts = urlsplit(url)
        before = len(daemon.log)
        for raw in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 40,
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
            b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 999999999999\r\n\r\nx" % parts.netloc.encode(),
            b"GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" % parts.netloc.encode(),
        ):
            with closing(socket.create_connection((parts.hostname, parts.port), DEADLINE_S)) as line:
                line.sendall(raw)
                assert re.match(rb"HTTP/1\.\d (4\d\d|500)", line.recv(100) or b""), raw[:30]
        assert "rlmwatch" in page(url)
        assert [entry for entry in daemon.log[before:] if entry["event"] != "watch.walked"] == []


def test_one_page_has_all_workspaces_of_the_user(home):
    """A folder that is answered by another daemon, or by none now, stands on the same page."""
    other = Home(home.root / "elsewhere", home.provider)
    other.variables = {"XDG_STATE_HOME": str(home.states)}
    other.save("there_input.txt", "a question in another folder")
    with other.daemon() as daemon:
        daemon.answered("there_output.txt")
    with home.daemon("--page", PAGE) as daemon:
        daemon.wait("page.ready")
        (file,) = home.states.glob("rlmwatch/*/page")
        first = page(json.loads(file.read_text())["url"])
    for words in ("a question in another folder", str(other.workspace), "rlmwatch does not run here now"):
        assert words in first


def test_in_a_browser_it_is_live_and_readable_on_a_phone_and_at_night(home, tmp_path):
    """In Chromium, a save appears by itself; nothing is asked of another address, nothing is wider than a phone."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")

    async def story(daemon: Daemon, url: str) -> None:
        async with Browser(tmp_path) as browser:
            await browser.open(url)
            await browser.until("document.getElementById('live').textContent === 'Live'")
            home.save("notes/deep/second_input.txt", "second " + "<script>document.title='taken'</script>" * 3)
            await browser.until("document.body.innerText.includes('re: second')", SOON_S)
            assert await browser.evaluate("document.title") == "rlmwatch"
            colors = set()
            run = await browser.evaluate("document.querySelector('a.question').href")
            for place in (url, run):
                for width in (390, 1280):
                    for dark in (False, True):
                        await browser.open(place, width=width, dark=dark)
                        assert await browser.evaluate("document.documentElement.scrollWidth") <= width
                        colors.add(await browser.evaluate("getComputedStyle(document.body).backgroundColor"))
                        assert await browser.evaluate(FAINT) == []
                        assert (await browser.screenshot()).startswith(b"\x89PNG")
            assert len(colors) == 2
            await browser.open(url)
            await browser.press("Tab", 9)
            assert await browser.evaluate("document.activeElement.textContent") == "To the content"
            await browser.open(url, script=False)
            text = (await browser.call("DOM.getDocument", depth=-1))["root"]
            assert "re: second" in json.dumps(text)
            assert browser.console == []
            assert [each for each in browser.requests if urlsplit(each).netloc not in ("", urlsplit(url).netloc)] == []

    home.save("first_input.txt", "first")
    with home.daemon("--page", PAGE) as daemon:
        daemon.answered("first_output.txt")
        asyncio.run(story(daemon, address(home, daemon)))


FAINT = """
(() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if (!color.endsWith(", 0)")) return color;
    }
  };
  const faint = [];
  for (const node of document.querySelectorAll("a, p, h1, h2, h3, span, strong, dt, dd, pre, summary, time")) {
    if (!node.innerText || node.closest(".skip")) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) faint.push(node.outerHTML.slice(0, 80));
  }
  return faint;
})()
"""
"""Elements whose text has less contrast than WCAG 2 asks for (AA, 4.5 to 1)."""
