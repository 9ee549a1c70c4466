"""Metrics of a daemon, scraped (issue 17, point 4)."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer
from system.daemon import DEADLINE_S
from system.harness import MODEL, Brain, Home

from rlmwatch import clock

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

DASHBOARD = Path(__file__).resolve().parents[2] / "grafana" / "rlmwatch.json"
PRICES = f'[prices."{MODEL}"]\ninput = 0\noutput = 1000\n[ceilings]\nmax_cost_usd_per_day = 4\n'


def scraped(at: str) -> str:
    with urllib.request.urlopen(at, timeout=30) as answer:  # noqa: S310 (our own loopback address)
        return answer.read().decode()


def asked_for() -> Iterator[tuple[str, set[str]]]:
    """Yield each metric that the dashboard asks for, with the labels by which it filters and sums."""
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"]
            labels = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", text))
            for group in re.findall(r"\bby \(([^)]*)\)", text):
                labels.update(group.replace(" ", "").split(","))
            left = re.sub(r"\bby \([^)]*\)|\{[^}]*\}|\[[^\]]*\]", " ", text)
            for name in re.findall(r"\b[a-z_]\w*\b(?!\s*\()", left):
                yield name, labels | set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield re.findall(r"label_values\((\w+), instance\)", variable["definition"])[0], set()


def test_the_dashboard_asks_for_what_a_daemon_exposes_and_leaves_nothing_out(tmp_path: Path):
    """Each metric and label of grafana/rlmwatch.json is in a scrape, and each metric of ours is in the dashboard."""
    with OpenAIServer(Brain()) as provider:
        home = Home(tmp_path / "home", provider)
        home.set(PRICES)
        with home.daemon("--metrics", "127.0.0.1:0") as daemon:
            home.save("chat_input.txt", "one")
            daemon.answered("chat_output.txt")
            at = daemon.wait("metrics.ready")["at"]
            give_up = clock.monotonic() + DEADLINE_S
            while 'rlmwatch_call_seconds_count{what="llm"} 1.0' not in (text := scraped(at)).splitlines():
                assert clock.monotonic() < give_up
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        samples.update({family.name + suffix: set() for suffix in suffixes})
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    asked = list(asked_for())
    assert len(asked) > 10
    for name, labels in asked:
        assert name in samples
        assert labels - {"instance"} <= samples[name], name
    ours = {
        name for name in samples if name.startswith("rlmwatch_") and not name.endswith(("_count", "_sum", "_created"))
    }
    assert ours <= {name for name, _ in asked}


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
            text = scraped(at)
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
