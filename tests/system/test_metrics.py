"""Metrics of a daemon, scraped (issue 17, point 4)."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer
from system.harness import MODEL, Brain, Home

pytest.importorskip("prometheus_client")
PRICES = f'[prices."{MODEL}"]\ninput = 0\noutput = 1000\n[ceilings]\nmax_cost_usd_per_day = 4\n'


def test_a_daemon_is_scraped_on_loopback_and_names_no_file(tmp_path: Path):
    """`--metrics 127.0.0.1:0` serves counters and gauges at the address that the log names; a stop ends it."""
    with OpenAIServer(Brain()) as provider:
        home = Home(tmp_path / "home", provider)
        home.set(PRICES)
        with home.daemon("--metrics", "127.0.0.1:0") as daemon:
            home.save("secret_input.txt", "one")
            daemon.answered("secret_output.txt")
            at = daemon.wait("metrics.ready")["at"]
            assert at.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(at, timeout=30) as answer:  # noqa: S310 (our own loopback address)
                text = answer.read().decode()
    lines = text.splitlines()
    assert 'rlmwatch_runs_total{kind="chat",outcome="success"} 1.0' in lines
    assert 'rlmwatch_calls_total{kind="chat"} 1.0' in lines
    assert 'rlmwatch_open_runs{state="waiting"} 0.0' in lines
    assert 'rlmwatch_ceiling_usd{period="day"} 4.0' in lines
    assert "secret" not in text


@pytest.mark.parametrize("address", ["0.0.0.0:9187", "192.168.1.2:9187", "example.org:9187"])
def test_metrics_are_served_on_loopback_alone(tmp_path: Path, address: str):
    """Another address than this machine's own is a wrong setting, named before anything is answered."""
    done = Home(tmp_path / "home").cli("run", str(tmp_path / "home" / "workspace"), "--metrics", address)
    assert done.returncode == 2
    assert "metrics" in done.stderr
