"""The fixtures of tests/system: these tests run the real program too."""

from system.conftest import brain, closed_fork_server, home, provider, shared  # noqa: F401 (fixtures)
