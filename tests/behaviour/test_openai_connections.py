"""Connections to a provider: kept for the next call where the server keeps them too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from rlmwatch.models.base import Message, Request
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.model import OpenAIModel

CHUNKS = [
    {"choices": [{"delta": {"content": "hi"}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
]
EVENTS = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in CHUNKS) + b"data: [DONE]\n\n"


@dataclass
class Keeper:
    """
    A provider that keeps its connections.

    Attributes:
        extra: Headers of its answers.
        ends: Pieces in which the end of an answer is sent.
        gap_s: Seconds before each of them.
        calls: How many calls each connection carried.
        heads: What came before the body of each request.
    """

    extra: str = ""
    ends: Iterable[bytes] = (b"0\r\n\r\n",)
    gap_s: float = 0.0
    calls: list[int] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls.append(0)
        mine = len(self.calls) - 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                text = head.decode().lower()
                self.heads.append(text)
                length = int(text.partition("content-length: ")[2].split("\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                self.calls[mine] += 1
                said = (
                    f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n{self.extra}"
                )
                writer.write(said.encode() + b"\r\n%x\r\n%s\r\n" % (len(EVENTS), EVENTS))
                for piece in self.ends:
                    await writer.drain()
                    await asyncio.sleep(self.gap_s)
                    writer.write(piece)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def asked(self, times: int, text: str = "hello", provider: str = "test") -> list[str]:
        """Ask it *times* times in a row, and return its replies."""
        request = Request("m", (Message("user", text),), 50)

        async def ask() -> list[str]:
            async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
                address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
                model = OpenAIModel(Endpoint(provider, address))
                try:
                    return [(await model.complete(request)).text for _ in range(times)]
                finally:
                    await model.aclose()

        return asyncio.run(ask())


@pytest.mark.parametrize("ends", [(b"0\r\n\r\n",), (b"0\r\n", b"\r\n")], ids=["at once", "in pieces"])
@pytest.mark.parametrize("gap_s", [0.0, 0.01])
def test_calls_in_a_row_share_a_connection(ends, gap_s):
    """A run's calls do not connect anew each time, also where the end of an answer comes a moment after its text."""
    keeper = Keeper(ends=ends, gap_s=gap_s)
    assert keeper.asked(5) == ["hi"] * 5
    assert keeper.calls == [5]


def test_a_server_that_closes_what_it_promised_to_keep_is_connected_anew():
    """llama.cpp says that it keeps a connection, and closes it a moment later: no call of ours runs into that."""
    keeper = Keeper(extra="Server: llama.cpp\r\nKeep-Alive: timeout=5, max=100\r\n")
    assert keeper.asked(3) == ["hi"] * 3
    assert keeper.calls == [1, 1, 1]


def test_an_answer_whose_end_does_not_come_is_whole_all_the_same():
    """Once the stream says that it is done, nobody waits for the connection's own end."""
    keeper = Keeper(ends=())
    assert keeper.asked(2) == ["hi"] * 2
    assert keeper.calls == [1, 1]


def test_a_text_that_is_no_unicode_can_be_asked():
    """Half a character, as a program may cut it, is asked as `?` and stops no run."""
    keeper = Keeper()
    keeper.asked(1, "caf\u00e9 \ud83d")
    assert json.loads(keeper.bodies[0])["messages"][0]["content"] == "caf\u00e9 ?"


def test_who_is_billed_is_told_to_openai_alone(monkeypatch):
    """`OPENAI_ORG_ID` and `OPENAI_PROJECT_ID` go to OpenAI's own provider, and to no other."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    told, other = Keeper(), Keeper()
    told.asked(1, provider="openai")
    other.asked(1, provider="openrouter")
    assert "openai-organization: org-1" in told.heads[0]
    assert "openai-project: proj-1" in told.heads[0]
    assert "openai-" not in other.heads[0]


def test_a_login_of_a_netrc_takes_no_keys_place(tmp_path, monkeypatch):
    """What a `.netrc` says of a host is for other programs; the key that the person gave is what is sent."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\ndefault login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    keeper = Keeper()
    keeper.asked(1)
    assert "authorization" not in keeper.heads[0]


def test_a_long_question_goes_out_whole():
    """More than a megabyte is sent in pieces, and says beforehand how long it is."""
    keeper = Keeper()
    text = "word " * 600_000
    keeper.asked(1, text)
    assert json.loads(keeper.bodies[0])["messages"][0]["content"] == text
