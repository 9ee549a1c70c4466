"""Who is paid may bill more than its list says: the ceilings hold all the same."""

from __future__ import annotations

from pathlib import Path

from servers.exa_server import ExaServer, Found, result
from servers.openai_server import OpenAIServer, Reply
from system.harness import MODEL, Brain, Home
from system.researching import Coder

CHATS = 8
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


def test_runs_that_start_together_do_not_pass_the_ceiling_together(home: Home, provider: OpenAIServer, brain: Brain):
    """Of eight chats at once whose model bills 0.90 dollars a call under a daily ceiling of 1.00, one call is made."""
    home.set(f'workers = 8\n[prices."{MODEL}"]\ninput = 0\noutput = 0.001\n')
    brain.on("dear", Reply("not so fast", cost=0.9, gap_s=0.2))
    for n in range(CHATS):
        home.save(f"n{n}_chat_input.txt", f"dear {n}")
    with home.daemon() as daemon:
        daemon.wait("run.held", CHATS - 1)
        daemon.wait("answer.written")
    assert provider.count == 1
