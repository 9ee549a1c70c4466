"""What a session promises to the engine, over the process sandbox."""

import asyncio
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sandbox.escapes import CHANNEL

from rlmwatch.sandbox.base import CellError, Failure, HostFunction, Parameter, SessionDied
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host.process import ProcessSandbox


async def _echo(text):
    return text


ECHO = HostFunction("echo", _echo, (Parameter("text"),), doc="Say it again.")


SHARED = ProcessSandbox()
"""One zygote for all that needs none of its own."""


@pytest.fixture(autouse=True, scope="module")
def _shared_ends():
    yield
    asyncio.run(SHARED.aclose())


@asynccontextmanager
async def session(values=None, *, policy=None, seed=None):
    """Open a session, where a *policy* is given in a sandbox of its own."""
    sandbox = SHARED if policy is None else ProcessSandbox(policy)
    try:
        opened = await sandbox.open({"context": "hello"} if values is None else values, seed=seed)
        try:
            yield opened
        finally:
            await opened.close()
    finally:
        if sandbox is not SHARED:
            await sandbox.aclose()


def play(*cells, functions=(), timeout_s=20.0, values=None, policy=None, seed=None):
    """Run *cells* one after another in a new session, and return the results."""

    async def go():
        async with session(values, policy=policy, seed=seed) as opened:
            return [await opened.run_cell(code, timeout_s=timeout_s, functions=functions) for code in cells]

    return asyncio.run(go())


async def until(true, deadline_s=10.0):
    """Wait until *true()* is."""
    end = time.perf_counter() + deadline_s
    while not true():
        assert time.perf_counter() < end
        await asyncio.sleep(0.005)


def state(pid):
    """Return the kernel's letters for the states of all threads of *pid*."""
    return {
        task.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()
    }


def parent(pid):
    """Return the process that *pid* was forked from."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


# Names, output, answers


def test_names_last_from_cell_to_cell_also_before_an_exception():
    """What a cell set before it raised is there in the next one."""
    first, second = play("a = 1\nb = [2]\n1 / 0\nc = 3", "print(a, b, 'c' in globals())")
    assert "ZeroDivisionError" in first.error
    assert [name.name for name in first.names] == ["context", "a", "b"]
    assert second.stdout == "1 [2] False\n"


def test_only_what_is_printed_is_output():
    """The value of a last expression is not shown; stdout and stderr come as they were written."""
    quiet, loud = play("1 + 1", "import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c', end='')")
    assert (quiet.stdout, quiet.stdout_length) == ("", 0)
    assert (loud.stdout, loud.stdout_length) == ("a\nb\nc", 5)


def test_long_output_is_cut_in_the_middle_with_its_true_length():
    """The head and the tail stay, and the result says how much it was."""
    (result,) = play("print('H' * 300_000)\nfor _ in range(1000): print('m' * 5000)\nprint('T' * 300_000, end='')")
    assert result.stdout_length == 300_001 + 1000 * 5001 + 300_000
    assert result.stdout.startswith("H" * 100_000 + "\n[5,401,001 characters left out]\n")
    assert result.stdout.endswith("]\n" + "T" * 100_000)


def test_output_up_to_the_limit_is_whole():
    """Nothing is lost that need not be."""
    (result,) = play("for n in range(2000): print(f'{n:098}\\n', end='')")
    assert result.stdout == "".join(f"{n:098}\n" for n in range(2000))


def test_a_traceback_shows_the_cells_lines_and_nothing_of_ours():
    """The model sees its own code, also of earlier cells."""
    _, result = play("def divide(a):\n    return 1 / a", "divide(0)")
    assert 'File "<cell 1>", line 2, in divide\n    return 1 / a' in result.error
    assert 'File "<cell 2>", line 1' in result.error
    assert "rlmwatch" not in result.error
    (syntax,) = play("x = (")
    assert "SyntaxError" in syntax.error
    assert '"<cell 1>", line 1' in syntax.error


def test_a_traceback_does_not_name_where_python_is_installed():
    """A path can name a person."""
    (result,) = play("import json\njson.loads('{')")
    assert "JSONDecodeError" in result.error
    assert "json/decoder.py" in result.error
    assert sys.base_prefix not in result.error


def test_an_answer_counts_when_its_cell_ends_well():
    """An answer before an exception does not count, and none of an earlier cell is left."""
    results = play("answer('no')\nraise ValueError", "x = 1", "answer('first')\nanswer({'n': [1, (2,)]})", "pass")
    assert [result.answer for result in results] == [None, None, {"n": [1, [2]]}, None]


@pytest.mark.parametrize(
    ("value", "error"),
    [("None", "ValueError"), ("{1}", "TypeError"), ("float('nan')", "ValueError"), ("'x' * 5_000_000", "ValueError")],
)
def test_an_answer_that_is_none_is_refused_in_the_cell(value, error):
    """The model learns at once that it has not answered."""
    (result,) = play(f"try:\n    answer({value})\nexcept {error}: print('told')")
    assert (result.stdout, result.answer) == ("told\n", None)


def test_an_answer_is_what_it_was_when_given():
    """What the cell does to the value afterwards does not change it."""
    (result,) = play("x = [1]\nanswer(x)\nx.append(2)")
    assert result.answer == [1]


def test_what_is_not_the_cells_to_change_is_put_back_and_told():
    """The values of `open`, answer and the host's functions come back."""
    first, second = play(
        "context = 1\ndel echo\nimport builtins\nbuiltins.len = None\nanswer = 2",
        "print(context, echo('again'), len(context))",
        functions=[ECHO],
    )
    assert set(first.restored) == {"context", "echo", "answer"}
    assert (second.stdout, second.restored) == ("hello again 5\n", ())


def test_ending_the_interpreter_ends_only_the_cell():
    """`exit` of a script is an error of the cell, and names survive."""
    first, second = play("import sys\nx = 1\nsys.exit('bye')", "print(x)")
    assert "SystemExit: bye" in first.error
    assert second.stdout == "1\n"


def test_running_out_of_memory_is_an_error_that_can_be_mended():
    """The names stay, and when some are given up there is room again."""
    first, second = play("x = []\nwhile True: x.append(bytes(1 << 20))", "x.clear()\ny = bytes(1 << 28)\nprint(len(y))")
    assert "MemoryError" in first.error
    assert second.stdout == "268435456\n"


# Values


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a" * 70_000,
        "ü€😀" * 3_000_000,
        "x" * 20_000_000 + "é" * 10,
        ["a" * 100_000, {"b": [1, None, 2.5]}],
        {"k": "v"},
        7,
        None,
    ],
    ids=["empty", "short", "wide", "widening", "list", "dict", "int", "none"],
)
def test_a_value_arrives_as_it_was(value):
    """Small ones by frame, large ones by shared memory, the same to the last character."""

    async def go():
        async with session({"context": value, "again": value}) as opened:
            return await opened.run_cell(
                "import hashlib, json\n"
                "for v in (context, again): print(hashlib.sha256(json.dumps(v).encode()).hexdigest())",
                timeout_s=30,
            )

    expected = hashlib.sha256(json.dumps(value).encode()).hexdigest()
    assert asyncio.run(go()).stdout == f"{expected}\n" * 2


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"big": "x" * 300_000_000}, "does not fit"),
        ({"no name": 1}, "no name"),
        ({"x": float("nan")}, "not JSON"),
    ],
    ids=["large", "name", "nan"],
)
def test_a_value_that_does_not_fit_is_told(values, why):
    """Too much for the session's memory, or what is no value of JSON, is an error of the value."""

    async def go():
        async with session(values, policy=Policy(memory_bytes=256 << 20)):
            pass

    with pytest.raises(ValueError, match=why):
        asyncio.run(go())


def test_a_large_value_is_held_once():
    """A session with 60 MB of context fits into little more than that."""
    (result,) = play("print(len(context))", values={"context": "x" * 60_000_000}, policy=Policy(memory_bytes=160 << 20))
    assert result.stdout == "60000000\n"


def test_the_same_seed_draws_the_same_numbers_and_sets_keep_their_order():
    """A replay in another process does what the first run did."""
    code = "import random\nprint(random.random(), list({'a', 'b', 'c', 'd', 'e'}))"
    assert play(code, seed=7)[0].stdout == play(code, seed=7, policy=Policy())[0].stdout
    assert play(code, seed=7)[0].stdout != play(code, seed=8)[0].stdout


# Host functions


def test_a_cell_calls_the_host_as_a_plain_function():
    """By position, by keyword, with defaults; documented; wrong calls are TypeErrors."""

    async def join(left, right, sep):
        return {"joined": sep.join([left, *right])}

    function = HostFunction(
        "join", join, (Parameter("left"), Parameter("right", "strings"), Parameter("sep", default="-")), doc="Join."
    )
    good, unknown, kind = play(
        "print(join('a', ('b',)), join('a', right=['b'], sep='+')['joined'], join.__doc__)",
        "join('a', ['b'], other=1)",
        "join('a', 'b')",
        functions=[function],
    )
    assert good.stdout == "{'joined': 'a-b'} a+b Join.\n"
    assert "TypeError" in unknown.error
    assert "TypeError: join(): right must be strings, not str" in kind.error


def test_errors_of_the_host_can_be_caught_by_name():
    """Declared ones are classes under Error; built-in names are the built-in classes."""

    async def fail(name):
        raise CellError(name, f"it was {name}")

    function = HostFunction("fail", fail, (Parameter("name"),), errors=("BudgetExceeded", "ValueError"))
    caught, raised = play(
        "try: fail('BudgetExceeded')\nexcept BudgetExceeded as e: print(e, isinstance(e, Error))\n"
        "try: fail('ValueError')\nexcept ValueError as e: print(e)\n"
        "try: fail('Undeclared')\nexcept Error as e: print(type(e).__name__, e)",
        "fail('BudgetExceeded')",
        functions=[function],
    )
    assert caught.stdout == "it was BudgetExceeded True\nit was ValueError\nError it was Undeclared\n"
    assert raised.error.endswith("BudgetExceeded: it was BudgetExceeded\n")


def test_an_item_of_a_batch_that_failed_is_a_value():
    """The others are kept, in order."""

    async def batch(prompts):
        return [Failure("ProviderError", "down") if prompt == "bad" else prompt.upper() for prompt in prompts]

    function = HostFunction("batch", batch, (Parameter("prompts", "strings"),), errors=("ProviderError",))
    (result,) = play(
        "r = batch(['a', 'bad', 'c'])\nprint(r[0], r[2], type(r[1]).__name__, isinstance(r[1], Error), r[1])",
        functions=[function],
    )
    assert result.stdout == "A C ProviderError True down\n"


def test_threads_of_a_cell_call_the_host_side_by_side():
    """Four calls are in the host at once, and each thread gets its own reply."""

    async def go():
        together = asyncio.Barrier(4)

        async def meet(text):
            await together.wait()
            return text * 2

        async with session() as opened:
            return await opened.run_cell(
                "from concurrent.futures import ThreadPoolExecutor\n"
                "with ThreadPoolExecutor(4) as pool: print(list(pool.map(meet, 'abcdefgh')))",
                timeout_s=20,
                functions=[HostFunction("meet", meet, (Parameter("text"),))],
            )

    assert asyncio.run(go()).stdout == "['aa', 'bb', 'cc', 'dd', 'ee', 'ff', 'gg', 'hh']\n"


def test_only_the_functions_of_the_cell_are_there():
    """They may change from cell to cell; a kept reference to an old one is refused."""

    async def go():
        async with session() as opened:
            await opened.run_cell("kept = echo", timeout_s=5, functions=[ECHO])
            return await opened.run_cell(
                "print('echo' in globals())\ntry: kept('x')\nexcept NameError as e: print(e)", timeout_s=5
            )

    assert asyncio.run(go()).stdout == "False\necho() is not offered to this cell\n"


def test_arguments_that_cannot_cross_are_errors_in_the_cell():
    """Too large, too deep, no JSON: the model is told, the session goes on."""
    (result,) = play(
        "for value, error in (('x' * 9_000_000, ValueError), ({1}, TypeError), (float('inf'), ValueError)):\n"
        "    try: echo(value)\n    except error as e: print('told')\nprint(echo('still'))",
        functions=[ECHO],
    )
    assert result.stdout == "told\ntold\ntold\nstill\n"


def test_a_large_reply_arrives():
    """Megabytes from the host pass through the pipe while the cell reads."""

    async def page():
        return "p" * 5_000_000

    (result,) = play("print(len(page()), len(page()))", functions=[HostFunction("page", page)])
    assert result.stdout == "5000000 5000000\n"


def test_another_error_of_the_host_ends_the_session_and_comes_out():
    """What is not for the cell is for the engine."""

    class Cancelled(Exception):
        """The run was cancelled."""

    async def fail():
        raise Cancelled

    async def go():
        async with session() as opened:
            with pytest.raises(Cancelled):
                await opened.run_cell("fail()", timeout_s=5, functions=[HostFunction("fail", fail)])
            assert not opened.alive
            with pytest.raises(SessionDied):
                await opened.run_cell("1", timeout_s=5)

    asyncio.run(go())


def test_cancelling_a_cell_cancels_its_host_calls_and_ends_the_session():
    """A deadline of the run closes everything at once."""

    async def go():
        began, ended = asyncio.Event(), asyncio.Event()

        async def wait():
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with session() as opened:
            function = HostFunction("wait", wait)
            cell = asyncio.create_task(opened.run_cell("wait()", timeout_s=5, functions=[function]))
            await began.wait()
            cell.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cell
            assert ended.is_set()
            assert not opened.alive

    asyncio.run(go())


def test_host_calls_of_threads_are_cancelled_when_their_cell_ends():
    """No call goes on for a cell that is over, and the thread learns it."""

    async def go():
        cancelled = asyncio.Event()

        async def wait():
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with session() as opened:
            first = await opened.run_cell(
                "import threading, time\nseen = []\ndef call():\n    try: wait()\n"
                "    except RuntimeError as e: seen.append(str(e))\n"
                "t = threading.Thread(target=call)\nt.start()\ntime.sleep(0.05)",
                timeout_s=5,
                functions=[HostFunction("wait", wait)],
            )
            assert cancelled.is_set()
            second = await opened.run_cell("t.join()\nprint(seen)", timeout_s=10)
            return first, second

    first, second = asyncio.run(go())
    assert first.threads == 1
    assert second.stdout == "['the cell has ended']\n"


# Time


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\ntime.sleep(60)",
        "import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')",
        "y = 7 ** (10 ** 9)",
        "str(9 ** 10_000_000)" if sys.version_info >= (3, 12) else "y = (1 << 10 ** 9) // 7 ** (10 ** 7)",
        "import threading\nthreading.Event().wait()",
        "import queue\nqueue.Queue().get()",
        "import time\nfrom concurrent.futures import *\nwith ThreadPoolExecutor() as p: list(p.map(time.sleep, [9]))",
        "import asyncio\nasyncio.run(asyncio.sleep(60))",
        "try:\n    while True: pass\nexcept Exception: pass",
        "while True: print('x')",
    ],
    ids=["loop", "sleep", "regex", "power", "division", "event", "queue", "pool", "asyncio", "except", "printing"],
)
def test_names_survive_a_soft_interrupt(code):
    """A cell that runs too long is stopped, whatever it does, and the session goes on."""

    async def go():
        async with session() as opened:
            late = await opened.run_cell("kept = 1\n" + code, timeout_s=0.3)
            return late, await opened.run_cell("print(kept)", timeout_s=20)

    late, after = asyncio.run(go())
    assert (late.interrupted, late.killed) == (True, False)
    assert "CellInterrupted" in late.error
    assert after.stdout == "1\n"


@pytest.mark.parametrize(
    "code",
    [
        "n = 0\nwhile True:\n    try:\n        n += 1\n        while True: n += 1\n    except BaseException: pass",
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        "sum(range(10 ** 13))",
    ],
    ids=["swallowed", "ignored", "in C"],
)
def test_a_cell_that_does_not_stop_is_killed_and_the_lost_names_are_told(code):
    """The session is gone, the host is not."""

    async def go():
        async with session() as opened:
            await opened.run_cell("x = 1\ndef f(): pass", timeout_s=5)
            late = await opened.run_cell(code, timeout_s=0.2)
            assert not opened.alive
            return late

    late = asyncio.run(go())
    assert late.killed
    assert set(late.lost) == {"context", "x", "f"}
    assert "killed" in late.error


def test_waiting_for_the_host_does_not_count():
    """A cell may wait for sub-calls far longer than it may run."""

    async def wait():
        await asyncio.sleep(0.8)
        return 1

    (result,) = play("print(wait() + wait())", functions=[HostFunction("wait", wait)], timeout_s=0.5)
    assert (result.stdout, result.interrupted) == ("2\n", False)
    assert result.host_seconds >= 1.6
    assert result.seconds < 0.5


def test_an_interrupt_never_tears_a_call_apart():
    """Cells that do nothing but call are interrupted many times, and the protocol holds."""

    async def go():
        async with session() as opened:
            for _ in range(12):
                late = await opened.run_cell("while True: echo('x' * 5000)", timeout_s=0.05, functions=[ECHO])
                assert late.interrupted
            return await opened.run_cell("print(echo('whole'))", timeout_s=5, functions=[ECHO])

    assert asyncio.run(go()).stdout == "whole\n"


def test_no_host_function_is_called_after_the_limit():
    """What runs in the second of grace cannot buy anything."""
    code = """
n = 0
try:
    n += 1
    while True: n += 1
except BaseException:
    try: echo('late')
    except TimeoutError as e: print(e)
"""
    (result,) = play(code, functions=[ECHO], timeout_s=0.2)
    assert result.stdout == "the cell has passed its time limit\n"


def test_threads_that_outlive_their_cell_are_stopped_between_cells():
    """They run while a cell runs, and not in between."""

    async def go():
        async with session() as opened:
            first = await opened.run_cell(
                "import threading, time\nn = 0\ndef count():\n    global n\n"
                "    while True: n += 1; time.sleep(0.0005)\n"
                "threading.Thread(target=count).start()\ntime.sleep(0.05)\nprint(n > 0)",
                timeout_s=5,
            )
            await until(lambda: state(opened.pid) == {"T"})
            second = await opened.run_cell("a = n\ntime.sleep(0.05)\nprint(n > a)", timeout_s=5)
            await until(lambda: state(opened.pid) == {"T"})
            return first, second

    first, second = asyncio.run(go())
    assert (first.stdout, first.threads) == ("True\n", 1)
    assert second.stdout == "True\n"


def test_an_honest_thread_that_calls_late_does_not_end_the_session():
    """It is told that its cell has ended, cell after cell."""

    async def go():
        async with session() as opened:
            await opened.run_cell(
                "import threading\ntold = set()\ndef call():\n    while True:\n        try: echo('x')\n"
                "        except Exception as e: told.add(str(e))\n"
                "threading.Thread(target=call).start()",
                timeout_s=5,
                functions=[ECHO],
            )
            for _ in range(30):
                await opened.run_cell("x = 1", timeout_s=5, functions=[ECHO])
            return await opened.run_cell("print(told <= {'the cell has ended'})", timeout_s=5, functions=[ECHO])

    assert asyncio.run(go()).stdout == "True\n"


# Death


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\nos._exit(0)", "crashed"),
        ("import ctypes\nctypes.string_at(0)", "crashed"),
        ("import os\nos.closerange(0, 64)", "crashed"),
        (CHANNEL + "frame(b'no')", "violated"),
        (CHANNEL + "frame({'id': 'guess', 'result': {}})", "violated"),
        (CHANNEL + "frame({'id': channel._step, 'call': 'x', 'name': 'echo', 'arguments': {}})", "violated"),
    ],
    ids=["exit", "fault", "descriptors", "no JSON", "another id", "no call"],
)
def test_a_session_that_ends_itself_or_breaks_its_protocol_is_told_so(code, reason):
    """The engine learns which, and which names are lost."""

    async def go():
        async with session() as opened:
            await opened.run_cell("x = 1", timeout_s=5)
            with pytest.raises(SessionDied) as died:
                await opened.run_cell(code, timeout_s=5, functions=[ECHO])
            assert not opened.alive
            return died.value

    died = asyncio.run(go())
    assert (died.reason, died.lost) == (reason, ("context", "x"))


def test_a_frame_of_an_earlier_step_ends_the_session():
    """A result that was forged does no harm; the true one, late, is a violation of the next step."""

    async def go():
        async with session() as opened:
            lie = await opened.run_cell(CHANNEL + "frame(result())\ntime.sleep(0.1)", timeout_s=5)
            assert lie.stdout == "LIE"
            with pytest.raises(SessionDied) as died:
                await opened.run_cell("1", timeout_s=5)
            return died.value.reason

    assert asyncio.run(go()) == "violated"


def test_sessions_do_not_see_or_disturb_each_other():
    """Six run side by side; one that dies takes no other with it."""

    async def go():
        sandbox = ProcessSandbox()
        together = asyncio.Barrier(6)

        async def meet():
            await together.wait()
            return "met"

        try:
            sessions = await asyncio.gather(*(sandbox.open({"context": f"own {n}"}) for n in range(6)))
            function = HostFunction("meet", meet)
            code = "x = meet()\nprint(context, x)"
            results = await asyncio.gather(
                *(one.run_cell(code, timeout_s=20, functions=[function]) for one in sessions),
            )
            with pytest.raises(SessionDied):
                await sessions[0].run_cell("import os\nos._exit(1)", timeout_s=5)
            after = await asyncio.gather(*(one.run_cell("print(x)", timeout_s=5) for one in sessions[1:]))
            for one in sessions:
                await one.close()
            return [result.stdout for result in results], {result.stdout for result in after}
        finally:
            await sandbox.aclose()

    told, after = asyncio.run(go())
    assert told == [f"own {n} met\n" for n in range(6)]
    assert after == {"met\n"}


def test_a_zygote_that_was_killed_is_replaced():
    """Its sessions are gone; the next one opens as if nothing had been."""

    async def go():
        sandbox = ProcessSandbox()
        try:
            first = await sandbox.open({"context": "a"})
            os.kill(parent(first.pid), signal.SIGKILL)
            with pytest.raises(SessionDied):
                await first.run_cell("import time\ntime.sleep(20)", timeout_s=20)
            await first.close()
            second = await sandbox.open({"context": "b"})
            result = await second.run_cell("print(context)", timeout_s=5)
            await second.close()
            return result.stdout
        finally:
            await sandbox.aclose()

    assert asyncio.run(go()) == "b\n"


_HOST = """
import asyncio
from rlmwatch.sandbox.host.process import ProcessSandbox

async def main():
    sandbox = ProcessSandbox()
    session = await sandbox.open({"context": "x"})
    stays = "import threading, time\\nthreading.Thread(target=time.sleep, args=[600]).start()"
    await session.run_cell(stays, timeout_s=5)
    stopped = await sandbox.open({"context": "y"})
    await stopped.run_cell(stays, timeout_s=5)
    zygote = open(f"/proc/{session.pid}/stat").read().rsplit(")", 1)[1].split()[1]
    print("processes", session.pid, stopped.pid, zygote, flush=True)
    await session.run_cell("while True: pass", timeout_s=600)

asyncio.run(main())
"""


def test_nothing_is_left_when_the_host_is_killed():
    """A host that ends by SIGKILL takes the zygote and every worker, running or stopped, with it."""
    host = subprocess.Popen([sys.executable, "-c", _HOST], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        told = next(line for line in host.stdout if line.startswith(b"processes"))
        processes = [os.pidfd_open(int(pid)) for pid in told.split()[1:]]
        host.kill()
        host.wait(10)
        for process in processes:
            assert select.select([process], [], [], 10)[0]
            os.close(process)
    finally:
        host.kill()
        host.communicate()


def test_one_sandbox_serves_many_event_loops_and_threads():
    """The public API runs a loop for each call, in any thread."""
    sandbox = ProcessSandbox()
    told = []

    async def once():
        opened = await sandbox.open({"context": "hi"})
        told.append((await opened.run_cell("print(context)", timeout_s=5)).stdout)
        await opened.close()

    async def end():
        await sandbox.aclose()

    asyncio.run(once())
    thread = threading.Thread(target=lambda: asyncio.run(once()))
    thread.start()
    thread.join()
    asyncio.run(once())
    asyncio.run(end())
    assert told == ["hi\n"] * 3


def test_nothing_is_kept_open_when_all_is_closed():
    """Sessions that ended, died or were cancelled give every descriptor back."""

    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    async def go():
        before = count()
        sandbox = ProcessSandbox()
        for code in ("1", "import os\nos._exit(0)", CHANNEL + "frame(b'no')"):
            opened = await sandbox.open({"context": "x" * 100_000})
            with suppress(SessionDied):
                await opened.run_cell(code, timeout_s=5)
            await opened.close()
            await opened.close()
        opening = asyncio.create_task(sandbox.open({"context": "x"}))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await sandbox.aclose()
        await sandbox.aclose()
        await until(lambda: count() == before)

    asyncio.run(go())
