"""grafana/rlmwatch.json can be imported by Grafana; tests/system/test_metrics.py holds it against a scrape."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[2] / "grafana" / "rlmwatch.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
"""Columns of a dashboard."""

BOARD: dict[str, Any] = json.loads(FILE.read_text())


def apart(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] + one["w"] <= other["x"]
        or other["x"] + other["w"] <= one["x"]
        or one["y"] + one["h"] <= other["y"]
        or other["y"] + other["h"] <= one["y"]
    )


def test_grafana_makes_a_new_dashboard_of_it():
    """It has a title, a schema version, and no id, so that an import makes a new dashboard; its `uid` is its own."""
    assert (BOARD["title"], BOARD["uid"], BOARD["id"]) == ("rlmwatch", "rlmwatch", None)
    assert isinstance(BOARD["schemaVersion"], int)
    assert BOARD["schemaVersion"] >= 36, "before it, a data source was a name, and panels had their own variables"


def test_whoever_imports_it_chooses_the_prometheus():
    """The data source is a variable, and nothing in the file names one of another machine."""
    names = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert (names["datasource"]["type"], names["datasource"]["query"]) == ("datasource", "prometheus")
    for asks in [names["instance"], *(panel for panel in BOARD["panels"] if panel["type"] != "row")]:
        assert asks["datasource"] == DATASOURCE
        assert all(target["datasource"] == DATASOURCE for target in asks.get("targets", []))


def test_every_panel_has_an_id_a_place_and_something_to_show():
    """Ids are unique, no two panels overlap, and each asks for something that its title and description name."""
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(apart(one["gridPos"], other["gridPos"]) for one, other in combinations(panels, 2))
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= WIDTH
        assert panel["title"]
        if panel["type"] != "row":
            letters = [target["refId"] for target in panel["targets"]]
            assert letters
            assert len(set(letters)) == len(letters)
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
