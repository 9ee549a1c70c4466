"""
Debian's Chromium without a window, spoken to by its own protocol (CDP) over a loopback port that it picks.

    async with Browser(tmp_path) as browser:
        await browser.open(url, width=390, dark=True)
        assert await browser.evaluate("document.title") == "…"
        png = await browser.screenshot()
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import signal
from pathlib import Path
from typing import Any, Self

import aiohttp

CHROMIUM = shutil.which("chromium")
START_S = 60.0
"""A cold browser on a busy machine."""
POLL_S = 0.05


class Browser:
    """One browser with one window."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids = itertools.count(1)
        self.console: list[str] = []
        self.requests: list[str] = []

    async def __aenter__(self) -> Self:
        assert CHROMIUM is not None
        profile = self._folder / "chromium"
        self._process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            "--headless",
            "--no-sandbox",  # tests may run as root
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # its children end with it
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder), "LANG": "C.UTF-8"},
        )
        self._session = aiohttp.ClientSession()
        try:
            port = await self._port(profile / "DevToolsActivePort")
            async with self._session.get(f"http://127.0.0.1:{port}/json/list") as reply:
                page = next(each for each in await reply.json() if each["type"] == "page")
            self._line = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
            for domain in ("Page", "Runtime", "Network", "Log"):
                await self.call(f"{domain}.enable")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def _port(self, file: Path) -> int:
        async with asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(OSError, ValueError, IndexError):
                    return int(file.read_text().splitlines()[0])  # noqa: ASYNC240 (two short lines)
                await asyncio.sleep(POLL_S)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call *method* of the protocol and return its result; what the page says meanwhile is kept."""
        number = next(self._ids)
        await self._line.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(START_S):
            while (found := await self._next()).get("id") != number:
                pass
        assert "error" not in found, (method, found["error"])
        result: dict[str, Any] = found["result"]
        return result

    async def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._line.receive_json()
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled":
                self.console.append(str(params["args"]))
            case "Runtime.exceptionThrown":
                self.console.append(str(params["exceptionDetails"]))
            case "Log.entryAdded":
                self.console.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
        return message

    async def open(
        self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False, script: bool = True
    ) -> None:
        """Load *url* in a window of that size, with scripts or without."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await self.call("Emulation.setScriptExecutionDisabled", value=not script)
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(START_S):
            while (await self._next()).get("method") != "Page.loadEventFired":
                pass

    async def evaluate(self, expression: str) -> Any:
        """Return what *expression* is in the page; a promise is waited for."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, expression: str, within_s: float = START_S) -> None:
        """Wait until *expression* is true in the page."""
        async with asyncio.timeout(within_s):
            while not await self.evaluate(expression):  # noqa: ASYNC110 (it is another program's state)
                await asyncio.sleep(POLL_S)

    async def press(self, key: str, code: int) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    async def screenshot(self) -> bytes:
        """Return the whole page as a PNG."""
        found = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])
