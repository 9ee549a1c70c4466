"""The command line before any verb: where it runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

ELSEWHERE = """
import runpy, sys
sys.platform, sys.argv = {system!r}, ["rlmwatch", *{arguments!r}]
runpy.run_module("rlmwatch", run_name="__main__")
"""


@pytest.mark.parametrize("system", ["darwin", "win32", "freebsd14"])
@pytest.mark.parametrize("arguments", [["run"], ["init", "x"], ["model", "fetch"], ["--help"], []])
def test_another_system_than_linux_gets_one_line_and_status_2(system, arguments, tmp_path):
    """Whatever is called on another system, one line says what is needed, and nothing is written."""
    code = ELSEWHERE.format(system=system, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "needs Linux" in line
    assert system in line
    assert list(tmp_path.iterdir()) == []
