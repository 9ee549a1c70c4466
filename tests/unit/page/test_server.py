"""The page's server by itself, on a loopback port."""

import asyncio
import socket
from pathlib import Path

from rlmwatch.page.facts import Sources
from rlmwatch.page.model import CeilingView
from rlmwatch.page.server import PageAddress, PageServer

DEADLINE_S = 30.0


def a_server(states: Path) -> PageServer:
    sources = Sources(states, lambda _at: None, lambda _root: None)
    return PageServer(PageAddress("127.0.0.1", 0), sources, lambda: CeilingView(None, of_user=True), lambda text: text)


def test_a_client_that_reads_nothing_does_not_hold_up_a_stop(tmp_path):
    """Who asks again and again and takes no byte is let go of when the server ends, with what was not sent."""

    async def story() -> None:
        server = a_server(tmp_path)
        async with asyncio.timeout(DEADLINE_S):
            async with server:
                line = socket.socket()
                line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                port = int(server.place.rstrip("/").rpartition(":")[2])
                await asyncio.get_running_loop().run_in_executor(None, line.connect, ("127.0.0.1", port))
                path = server.url.removeprefix(server.place)
                line.send(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode() * 400)
                while not any(each.get_write_buffer_size() for each in server._http._transports.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            assert server._http.open_now == 0
        line.close()

    asyncio.run(story())


def test_each_start_has_a_token_of_its_own(tmp_path):
    """A token that somebody learned is worth nothing after the next start."""

    async def story() -> None:
        tokens = [a_server(tmp_path).token for _ in range(20)]
        assert len(set(tokens)) == 20
        assert all(len(token) == 32 for token in tokens)

    asyncio.run(story())
