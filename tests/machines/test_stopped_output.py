"""Standard error into a pipe that is read, stopped and closed in any order, beside a list of the lines."""

import os
import select
import threading

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rlmwatch.cli.streams import BackgroundStream

LIMIT_BYTES = 1 << 18
DEADLINE_S = 30.0


class StoppedOutput(RuleBasedStateMachine):
    """
    Whoever reads or does not, this holds.

    1. A write returns, also while nobody reads.
    2. What arrives is a part of the lines in their order, each whole and none twice.
    3. Lines are missing only where more than the limit waited.
    4. Nothing is written any more once the reader went away, and no write fails.
    """

    @initialize()
    def begin(self):
        self.reading, self.writing = os.pipe()
        self.stream = BackgroundStream(self.writing, "utf-8", limit=LIMIT_BYTES)
        self.written, self.read, self.rest = [], [], b""
        self.waiting_bytes = 0  # at most, since all was read
        self.may_miss = self.closed = False

    @rule(count=st.integers(1, 50), size=st.sampled_from([10, 4_000, 5_000]))
    def write(self, count, size):
        """Lines are logged, faster than they are read."""
        lines = []
        for _ in range(count):
            line = f"{len(self.written):08d} {'ü' * (size // 2)}\n"
            self.written.append(line)
            self.waiting_bytes += len(line.encode())
            self.may_miss |= self.waiting_bytes > LIMIT_BYTES
            lines.append(line)
        taken = []
        writer = threading.Thread(target=lambda: taken.extend(map(self.stream.write, lines)), daemon=True)
        writer.start()
        writer.join(DEADLINE_S)
        assert taken == [len(line) for line in lines], "a write waits for who reads"

    @precondition(lambda self: not self.closed)
    @rule()
    def read_all(self):
        """The terminal goes on (Ctrl+Q), the reader catches up."""
        taken, drained = [], threading.Event()

        def take():
            while not drained.is_set() or self._has_more():
                if self._has_more():
                    taken.append(os.read(self.reading, 1 << 16))

        reader = threading.Thread(target=take)
        reader.start()
        assert self.stream.drain(DEADLINE_S)
        drained.set()
        reader.join(DEADLINE_S)
        self.rest += b"".join(taken)
        *lines, self.rest = self.rest.split(b"\n")
        self.read += [f"{line.decode()}\n" for line in lines if b"log.lines_dropped" not in line]
        self.waiting_bytes = 0
        self.compare()

    @precondition(lambda self: not self.closed)
    @rule(sure=st.integers(0, 9))
    def the_reader_goes_away(self, sure):
        """The other end of the pipe is closed."""
        if sure == 0:
            os.close(self.reading)
            self.closed = True

    def _has_more(self):
        poll = select.poll()
        poll.register(self.reading, select.POLLIN)
        return bool(poll.poll(1))

    def compare(self):
        assert self.rest == b""
        written = iter(self.written)
        assert all(line in written for line in self.read)
        if not self.may_miss:
            assert self.read == self.written

    def teardown(self):
        if not hasattr(self, "stream"):
            return
        if self.closed:
            assert self.stream.write("the last\n")
            assert self.stream.drain(DEADLINE_S)
        else:
            self.read_all()
            os.close(self.reading)
        os.close(self.writing)


TestStoppedOutput = StoppedOutput.TestCase
TestStoppedOutput.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
