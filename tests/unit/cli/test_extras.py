"""What `rlmwatch doctor` says of libraries that the settings ask for."""

from __future__ import annotations

import sys

import pytest

from rlmwatch.cli.checks.settings import settings_lines
from rlmwatch.settings.sources import load


@pytest.mark.parametrize(
    ("setting", "library", "extra"),
    [
        ('metrics = "127.0.0.1:9187"', "prometheus_client", "rlmwatch[metrics]"),
        ('traces = "http://127.0.0.1:4318"', "opentelemetry.exporter.otlp.proto.http", "rlmwatch[otel]"),
    ],
)
def test_a_missing_extra_is_wrong_where_the_settings_ask_for_it(tmp_path, monkeypatch, setting, library, extra):
    """Who set `metrics` or `traces` reads which extra to install, before a daemon refuses to start."""
    monkeypatch.setitem(sys.modules, library, None)

    def wrong() -> list[str]:
        loaded = load(user_dir=tmp_path, workspace=None, environ={})
        return [line.todo for line in settings_lines(loaded, tmp_path, None) if line.mark == "wrong"]

    assert wrong() == []
    (tmp_path / "config.toml").write_text(f"{setting}\n")
    assert wrong() == [f"install {extra}"]
