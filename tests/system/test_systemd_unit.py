"""systemd/: units that systemd takes without a word, and calls safe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
USER, SYSTEM = UNITS / "rlmwatch.service", UNITS / "rlmwatch@.service"
MOST_EXPOSED = 15
"""In tenths, as `--threshold` takes it."""

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine"
)


def analyze(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        env={**os.environ, "XDG_RUNTIME_DIR": str(home), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_analyze
@pytest.mark.parametrize(("unit", "of"), [(USER, "--user"), (SYSTEM, "--system")])
def test_systemd_finds_nothing_to_say_about_a_unit(tmp_path, unit, of):
    """`systemd-analyze verify` prints nothing about it: it exits with 0 on a key that it does not know."""
    found = analyze(tmp_path, "verify", "--man=no", of, str(unit))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@needs_analyze
def test_verify_does_not_pass_over_a_wrong_key(tmp_path):
    """A key that systemd does not know is seen by the test above."""
    wrong = tmp_path / "wrong.service"
    wrong.write_text(USER.read_text().replace("PrivateUsers=", "PrivatUsers="))
    assert "PrivatUsers" in analyze(tmp_path, "verify", "--man=no", "--user", str(wrong)).stderr


@needs_analyze
def test_the_system_unit_is_hardly_exposed(tmp_path):
    """`systemd-analyze security` rates the system unit at 1.5 or better."""
    found = analyze(tmp_path, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(SYSTEM))
    assert found.returncode == 0, found.stdout[-300:]


@needs_analyze
def test_what_the_sandbox_needs_is_allowed_by_name(tmp_path):
    """In the user unit a session may have namespaces of its own; in the system unit it may not, and doctor says so."""
    kinds = {"user", "net", "ipc", "uts"}
    for unit, of, allowed in ((USER, "--user", kinds), (SYSTEM, "--system", set())):
        found = json.loads(analyze(tmp_path, "security", "--offline=true", "--json=short", of, str(unit)).stdout)
        marks = {each["json_field"]: each["set"] for each in found if each.get("json_field")}
        open_kinds = {kind for kind in kinds if marks[f"RestrictNamespaces_{kind}"] is False}
        assert open_kinds == allowed, unit


@pytest.mark.parametrize("unit", [USER, SYSTEM])
def test_landlock_is_allowed_by_name(unit):
    """Landlock's calls are in no group of systemd 252: each stands in the filter, and a refused call is an error."""
    text = unit.read_text(encoding="utf-8")
    for call in ("landlock_create_ruleset", "landlock_restrict_self"):
        assert call in text
    assert "SystemCallErrorNumber=EPERM\n" in text


@pytest.mark.parametrize("unit", [USER, SYSTEM])
def test_each_directive_says_why_it_is_there(unit):
    """Each line of the service says what it stops and why it is safe here: a comment stands above it or its group."""
    lines = unit.read_text(encoding="utf-8").splitlines()
    service = lines[lines.index("[Service]") + 1 : lines.index("[Install]")]
    explained = False
    for line in service:
        if line.startswith("# "):
            explained = True
        elif not line.strip():
            explained = False
        elif not line.startswith("#"):
            assert explained, f"{line} has no reason beside it"
