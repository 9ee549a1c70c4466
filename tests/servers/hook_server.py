"""A receiver of webhooks on loopback that can refuse, redirect and keep silent, and checks signatures by itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

DEADLINE_S = 30.0


@dataclass
class Told:
    """One request: its headers with lower-case names, its bytes, and what it was answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def values(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def is_signed(self, secret: str) -> bool:
        """Whether it is signed as the specification says, written down here once more."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        names = ("webhook-id", "webhook-timestamp")
        content = b".".join([*(self.headers[name].encode() for name in names), self.body])
        proof = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        return f"v1,{proof}" in self.headers["webhook-signature"].split(" ")


@dataclass
class HookServer:
    """
    The receiver; a context manager.

    Attributes:
        script: HTTP statuses in the order of the requests; the last one is repeated.
        location: Where redirects lead.
    """

    script: list[int] = field(default_factory=lambda: [204])
    location: str = ""
    _told: list[Told] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with receiver._changed:
                    status = receiver.script.pop(0) if len(receiver.script) > 1 else receiver.script[0]
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver._told.append(Told(self.path, headers, body, status))
                    receiver._changed.notify_all()
                self.send_response(status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 (the library's names)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="hook-server")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE_S)

    @property
    def place(self) -> str:
        """`host:port`, as `[webhooks] allow` takes it."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.place}/hook"

    @property
    def told(self) -> list[Told]:
        with self._changed:
            return list(self._told)

    def wait(self, n: int) -> list[Told]:
        """Wait until *n* requests came, and return all."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self._told) >= n, DEADLINE_S)
        assert there, f"{len(self.told)} of {n} requests came"
        return self.told
