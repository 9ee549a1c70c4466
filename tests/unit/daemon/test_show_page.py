"""The page beside a daemon: loaded where it is asked for, and known by the daemon that shows it."""

import json
import os
import subprocess
import sys

from rlmwatch.daemon.show_page import page_url
from rlmwatch.workspace.owner import Lock

NOW = "2026-11-28T20:00:00.000Z"


def test_what_serves_the_page_is_loaded_where_it_is_asked_for():
    """A daemon without a page loads neither aiohttp's server nor the page."""
    ours = "[n for n in sys.modules if n == 'aiohttp.web' or n.startswith('rlmwatch.page')]"
    code = f"import rlmwatch.cli.run, sys; print({ours})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_address_is_that_of_a_daemon_that_runs(tmp_path):
    """An address counts while its daemon has the workspace; one that a killed daemon left, or nonsense, does not."""
    root = tmp_path / "w"
    root.mkdir()
    state = tmp_path / "states" / "w-1"
    state.mkdir(parents=True)
    file = state / "page"
    file.write_text(json.dumps({"pid": os.getpid(), "url": "http://127.0.0.1:1/token/"}))
    assert page_url(tmp_path / "states") is None
    lock = Lock.acquire(state, host="here", pid=os.getpid(), now=NOW, serves=True, root=root)
    try:
        assert page_url(tmp_path / "states") == "http://127.0.0.1:1/token/"
        file.write_text(json.dumps({"pid": os.getpid() + 1, "url": "http://127.0.0.1:1/old/"}))
        assert page_url(tmp_path / "states") is None
        for nonsense in ("", "[]", "{}", '{"pid": "x"}'):
            file.write_text(nonsense)
            assert page_url(tmp_path / "states") is None
    finally:
        lock.release()
