"""Who searches may bill more than its list says: the ceilings hold all the same."""

from __future__ import annotations

from pathlib import Path

from servers.exa_server import ExaServer, Found, result
from servers.openai_server import OpenAIServer
from system.harness import Home
from system.researching import Coder

AT_ONCE = """
import threading
threads = [threading.Thread(target=research, args=(str(n),)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
answer('done')
"""


def test_searches_that_cost_far_more_than_listed_do_not_pass_the_ceiling_together(tmp_path: Path):
    """Of eight at once that bill 0.90 dollars each under a daily ceiling of 1.00, one is made; the rest are refused."""
    coder = Coder()
    coder.on("dear", AT_ONCE)
    found = Found([result("https://a.example/")], cost={"total": 0.9})
    with OpenAIServer(coder) as provider, ExaServer([found]) as exa:
        variables = {"EXA_API_KEY": "made-up-exa-key-51d27f3a9c", "EXA_BASE_URL": exa.url}
        home = Home(tmp_path / "home", provider, variables=variables)
        with home.daemon() as daemon:
            home.save("exa_input.txt", "---\nmax_cost_usd: 10\n---\ndear")
            daemon.wait("run.step")
            daemon.wait_for_any(("answer.written", "run.failed", "run.held"), 1)
        assert exa.count == 1
        assert "7 searches refused" in " ".join(home.status_of("exa_input.txt")["notes"])
