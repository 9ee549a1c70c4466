"""
The process that runs the embedded model: llama.cpp's own server, on loopback, behind a random key.

Started by `embedded.py` as `python -P -m rlmwatch.models.llamacpp.child`. The protocol:

1. stdin, one line: `{"path": …, "name": …, "key": …, "threads": …, "context": …, "parent": <pid>}`;
2. stdout, one line: `{"address": "http://127.0.0.1:<port>"}`, or `{"error": …}` and the end;
3. stderr: llama.cpp's warnings and errors;
4. when stdin ends, so does the process; also when its parent dies in any way.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_WARNINGS = 2  # llama.cpp's verbosity: 1 errors, 2 warnings, 3 information; prompts are logged above that


def main() -> None:
    """Serve until stdin ends."""
    # llama.cpp may print; what our parent reads is kept apart.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    settings = json.loads(sys.stdin.readline())
    _die_with(settings["parent"])
    try:
        server = _serve(settings)
    except Exception as error:  # noqa: BLE001 (native code raises what it likes; our parent tells the person)
        answer = {"error": str(error) or type(error).__name__}
    else:
        answer = {"address": server.listening_address}
    out.write(json.dumps(answer) + "\n")
    out.flush()
    if "address" in answer:
        sys.stdin.read()
    os._exit(0)  # the server's threads are in native code and would be waited for


def _die_with(parent: int) -> None:
    """Have the kernel end this process with its parent (Linux); elsewhere the end of stdin does."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(0)


def _serve(settings: dict[str, Any]) -> Any:  # noqa: ANN401 (xllamacpp has no types)
    """Load the model and listen on a port that the kernel picks."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["key"]]
    params.ui = False
    params.endpoint_slots = False  # it shows prompts
    params.verbosity = _WARNINGS
    # Parallel requests bring nothing on a CPU, and make temperature 0 differ from run to run.
    params.n_parallel = 1
    params.n_ctx = settings["context"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    # The prompt cache of the one slot is enough; the other one may take 8 GB.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
