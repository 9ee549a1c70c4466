# ruff: noqa: E501 (cells are quoted as they are)
"""
Attempts to get out of the sandbox, as data.

Each is a cell that prints `LEAK` where it got what it wanted. The names in capitals are the lures of `play.py`: a
secret file, a folder that all may write, sockets that listen, a victim process, a descriptor that the host left open.
`leaks` says whether it must succeed in a bare subprocess on Linux as root: an attempt that cannot succeed anywhere
proves nothing, so what only disturbs (forged frames, bombs of recursion, poisoned builtins) is judged by whether the
host stays well and goes on.
"""

from __future__ import annotations

from typing import NamedTuple


class Attempt(NamedTuple):
    """
    One attempt.

    Attributes:
        group: Class of attempts, as the table shows it.
        leaks: Whether it prints LEAK in a bare subprocess.
        seconds: Time limit of its cell.
    """

    name: str
    group: str
    code: str
    leaks: bool = True
    seconds: float = 10.0


CTYPES = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nlibc.syscall.restype = ctypes.c_long\n"
PAGES = CTYPES + (
    "libc.mmap.restype = libc.mremap.restype = ctypes.c_size_t\nlibc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t,"
    " ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]\n"
    "libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]\n"
    "libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]\nPAGE, FAILED = 4096, 2**64 - 1\n"
)
CHANNEL = """
import gc, json, os, threading, time
channel = [o for o in gc.get_objects() if type(o).__name__ == "Channel"][0]
def frame(body, fd=4):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    whole = len(data).to_bytes(4, "big") + data
    while whole:
        whole = whole[os.write(fd, whole):]
def result(**more):
    return {"id": channel._step, "result": {"stdout": "LIE", "stdout_length": 3, "error": None, "names": [],
            "answer": None, "restored": [], "interrupted": False, "threads": 0, **more}}
"""


def _all(group: str, attempts: dict[str, str], *, before: str = "", leaks: bool = True) -> list[Attempt]:
    return [Attempt(name, group, before + code, leaks) for name, code in attempts.items()]


ENVIRONMENT = {
    "environ": "import os\nprint('LEAK' if CANARY_HEAD in os.environ.get('SECRET', '') else 'no')",
    "proc environ": "print('LEAK' if CANARY_HEAD in open('/proc/self/environ').read() else 'no')",
    "getenv of libc": CTYPES + "libc.getenv.restype = ctypes.c_char_p\n"
    "print('LEAK' if CANARY_HEAD.encode() in (libc.getenv(b'SECRET') or b'') else 'no')",
}
FILES = {
    "open": "print('LEAK' if CANARY_HEAD in open(SECRET_FILE).read() else 'no')",
    "os.open": "import os\nprint('LEAK' if CANARY_HEAD in os.read(os.open(SECRET_FILE, 0), 99).decode() else 'no')",
    "FileIO": "import io\nprint('LEAK' if CANARY_HEAD.encode() in io.FileIO(SECRET_FILE).read() else 'no')",
    "pathlib": "import pathlib\nprint('LEAK' if CANARY_HEAD in pathlib.Path(SECRET_FILE).read_text() else 'no')",
    "linecache": "import linecache\nprint('LEAK' if CANARY_HEAD in ''.join(linecache.getlines(SECRET_FILE)) else 'no')",
    "a loader's get_data": "import importlib.machinery as m\n"
    "print('LEAK' if CANARY_HEAD.encode() in m.SourceFileLoader('x', SECRET_FILE).get_data(SECRET_FILE) else 'no')",
    "open of libc": CTYPES + "fd = libc.open(SECRET_FILE.encode(), 0)\nprint('LEAK' if fd >= 0 else 'no')",
    "openat as a system call": CTYPES
    + "fd = libc.syscall(NR['openat'], -100, SECRET_FILE.encode(), 0)\nprint('LEAK' if fd >= 0 else 'no')",
    "openat2 as a system call": CTYPES + "how = (ctypes.c_uint64 * 3)()\n"
    "fd = libc.syscall(437, -100, SECRET_FILE.encode(), how, 24)\nprint('LEAK' if fd >= 0 else 'no')",
    "listing a folder": "import os\nprint('LEAK' if os.listdir(FOLDER) else 'no')",
    "whether a file exists": "import os\nprint('LEAK' if os.path.exists(SECRET_FILE) else 'no')",
    "a database file": "import sqlite3\ns = sqlite3.connect(FOLDER + '/own.db')\ns.execute('create table t (x)')\n"
    "print('LEAK')",
    "reading a link": "import os\nprint('LEAK' if os.readlink('/proc/self/exe') else 'no')",
    "importing from a folder": "import sys\nsys.path.insert(0, FOLDER)\nimport planted\nprint(planted.WORD)",
    "changing the root folder": "import os\nos.chroot(FOLDER)\nprint('LEAK')",
    "loading a library": "import ctypes\nctypes.CDLL('libBrokenLocale.so.1')\nprint('LEAK')",
}
PROCESSES_MEMORY = {
    "own maps": "print('LEAK' if 'r-xp' in open('/proc/self/maps').read() else 'no')",
    "own mem": "f = open('/proc/self/mem', 'r+b', 0)\nprint('LEAK')",
    "environment of another process": "print('LEAK' if CANARY_HEAD in open(f'/proc/{VICTIM}/environ').read() else 'no')",
    "memory of another process by /proc": "f = open(f'/proc/{VICTIM}/mem', 'rb', 0)\nf.seek(VICTIM_ADDRESS)\n"
    "print('LEAK' if CANARY_HEAD.encode() in f.read(64) else 'no')",
    "process_vm_readv": CTYPES + "buffer = ctypes.create_string_buffer(64)\n"
    "local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 64)\nremote = (ctypes.c_size_t * 2)(VICTIM_ADDRESS, 64)\n"
    "libc.process_vm_readv(VICTIM, local, 1, remote, 1, 0)\n"
    "print('LEAK' if CANARY_HEAD.encode() in buffer.raw else 'no')",
    "ptrace": CTYPES + "print('LEAK' if libc.ptrace(16, VICTIM, 0, 0) == 0 else 'no')",
    "pidfd_getfd": CTYPES + "import os\nfd = os.pidfd_open(VICTIM)\n"
    "print('LEAK' if libc.syscall(438, fd, 0, 0) >= 0 else 'no')",
    "kcmp": CTYPES + "import os\nprint('LEAK' if libc.syscall(NR['kcmp'], VICTIM, VICTIM, 1, 0, 0) == 0 else 'no')",
}
NETWORK = {
    "TCP": "import socket\nsocket.create_connection(('127.0.0.1', TCP_PORT), 1).sendall(b'x')\nprint('LEAK')",
    "TCP by asyncio": "import asyncio\nasync def go():\n    await asyncio.open_connection('127.0.0.1', TCP_PORT)\n"
    "    print('LEAK')\nasyncio.run(go())",
    "HTTP": "import http.client\nh = http.client.HTTPConnection('127.0.0.1', TCP_PORT, timeout=1)\nh.connect()\n"
    "print('LEAK')",
    "listening": "import socket\ns = socket.create_server(('127.0.0.1', 0))\nprint('LEAK')",
    "UDP": "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "s.sendto(b'x', ('127.0.0.1', UDP_PORT))\nprint('LEAK')",
    "raw": "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\nprint('LEAK')",
    "packet": "import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\nprint('LEAK')",
    "netlink": "import socket\ns = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\nprint('LEAK')",
    "interfaces": "import socket\nprint('LEAK' if socket.if_nameindex() else 'no')",
    "name of the machine": "import socket\nprint('LEAK' if socket.gethostname() else 'no')",
    "unix stream": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(UNIX_STREAM)\nprint('LEAK')",
    "unix datagram": "import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "s.sendto(b'x', UNIX_DATAGRAM)\nprint('LEAK')",
    "abstract stream": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(ABSTRACT)\nprint('LEAK')",
    "abstract datagram": "import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "s.sendto(b'x', ABSTRACT_DATAGRAM)\nprint('LEAK')",
    "a datagram pair sends elsewhere": "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "a.sendto(b'x', UNIX_DATAGRAM)\nprint('LEAK')",
    "a pair sends a descriptor": "import socket\na, b = socket.socketpair()\nsocket.send_fds(a, [b'x'], [0])\n"
    "print('LEAK')",
    "urgent data on a pair": "import socket\na, b = socket.socketpair()\na.send(b'x', socket.MSG_OOB)\nprint('LEAK')",
}
DESCRIPTORS = {
    "one that the host left open": "import os\nos.lseek(OPEN_DESCRIPTOR, 0, 0)\n"
    "print('LEAK' if CANARY_HEAD.encode() in os.read(OPEN_DESCRIPTOR, 99) else 'no')",
    "any that is open": "import os\nfor fd in range(6, 300):\n    try:\n        os.lseek(fd, 0, 0)\n"
    "        if CANARY_HEAD.encode() in os.read(fd, 99): print('LEAK')\n    except OSError: pass",
    "duplicating one upward": "import os\nfd = os.dup(OPEN_DESCRIPTOR)\nprint('LEAK')",
    "reading the terminal": "import os\nprint('LEAK' if os.read(0, 9) else 'no')",
}
WRITING = {
    "a new file": "open(FOLDER + '/new.txt', 'w').write('x')\nprint('LEAK')",
    "a temporary file": "import tempfile\ntempfile.TemporaryFile().write(b'x')\nprint('LEAK')",
    "a folder": "import os\nos.mkdir(FOLDER + '/new')\nprint('LEAK')",
    "a link": "import os\nos.symlink(SECRET_FILE, FOLDER + '/link')\nprint('LEAK')",
    "a hard link": "import os\nos.link(SECRET_FILE, FOLDER + '/hard')\nprint('LEAK')",
    "a pipe with a name": "import os\nos.mkfifo(FOLDER + '/fifo')\nprint('LEAK')",
    "renaming": "import os\nos.rename(FOLDER + '/movable', FOLDER + '/moved')\nprint('LEAK')",
    "removing": "import os\nos.unlink(FOLDER + '/removable')\nprint('LEAK')",
    "truncating": "import os\nos.truncate(FOLDER + '/removable2', 0)\nprint('LEAK')",
    "permissions": "import os\nos.chmod(FOLDER + '/planted.py', 0o777)\nprint('LEAK')",
    "times": "import os\nos.utime(FOLDER + '/planted.py', (1, 1))\nprint('LEAK')",
    "shared memory": "from multiprocessing.shared_memory import SharedMemory\ns = SharedMemory(create=True, size=4096)\n"
    "s.close()\ns.unlink()\nprint('LEAK')",
    "memfd": "import os\nos.memfd_create('x')\nprint('LEAK')",
    "System V shared memory": CTYPES + "number = libc.shmget(0, 4096, 0o1600)\nlibc.shmctl(number, 0, None)\n"
    "print('LEAK' if number >= 0 else 'no')",
    "a message queue": CTYPES + "print('LEAK' if libc.syscall(NR['mq_open'], b'rlmwatch-q', 0o101, 0o600, None) >= 0"
    " and libc.syscall(NR['mq_unlink'], b'rlmwatch-q') == 0 else 'no')",
    "a key": CTYPES + "print('LEAK' if libc.syscall(NR['add_key'], b'user', b'k', b'v', 1, -1) > 0 else 'no')",
}
STARTING = {
    "fork": "import os\npid = os.fork()\nif pid == 0: os._exit(0)\nprint('LEAK')",
    "subprocess": "import subprocess, sys\nsubprocess.run(['/bin/true'], check=True)\nprint('LEAK')",
    "system": "import os\nprint('LEAK' if os.system('true') == 0 else 'no')",
    "posix_spawn": "import os\nos.posix_spawn('/bin/true', ['true'], {})\nprint('LEAK')",
    "exec": "import os\nos.execv('/bin/echo', ['echo', 'LEAK'])",
    "exec by descriptor": CTYPES + "import os\nfd = os.open('/bin/echo', os.O_RDONLY)\n"
    "os.execve(fd, ['echo', 'LEAK'], {})",
    "multiprocessing": "import multiprocessing as m\nc = m.get_context('fork')\np = c.Process(target=int)\np.start()\n"
    "p.join()\nprint('LEAK')",
    "clone as a system call": CTYPES + "import os\npid = libc.syscall(NR['clone'], 17, 0, 0, 0, 0)\n"
    "if pid == 0: os._exit(0)\nprint('LEAK' if pid > 0 else 'no')",
    "clone3 as a system call": CTYPES + "import os\na = (ctypes.c_uint64 * 11)()\na[4] = 17\n"
    "pid = libc.syscall(435, a, 88)\nif pid == 0: os._exit(0)\nprint('LEAK' if pid > 0 else 'no')",
    "signal to another process": "import os\nos.kill(VICTIM, 0)\nprint('LEAK')",
    "signal to the parent": "import os\nos.kill(os.getppid(), 0)\nprint('LEAK')",
    "signal to all": "import os, signal\nos.killpg(os.getpgid(0), 0)\nprint('LEAK')",
    "signal by pidfd": "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(VICTIM), 0)\nprint('LEAK')",
    "an alarm": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 60)\nprint('LEAK')",
    "limits of another process": "import resource\nresource.prlimit(VICTIM, resource.RLIMIT_CORE)\nprint('LEAK')",
    "raising a limit": "import resource\nn = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
    "resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))\nprint('LEAK')",
    "becoming root": "import os\nos.setuid(0)\nprint('LEAK')",
    "priority": "import os\nos.nice(1)\nprint('LEAK')",
    "own processor": "import os\nos.sched_setaffinity(0, os.sched_getaffinity(0))\nprint('LEAK')",
    "a new namespace": CTYPES + "print('LEAK' if libc.unshare(0x10000000) == 0 else 'no')",
}
KERNEL = {
    "io_uring": CTYPES + "p = ctypes.create_string_buffer(120)\n"
    "print('LEAK' if libc.syscall(425, 4, p) >= 0 else 'no')",
    "bpf": CTYPES + "a = (ctypes.c_uint32 * 18)(2, 4, 4, 1)\n"
    "print('LEAK' if libc.syscall(NR['bpf'], 0, a, 72) >= 0 else 'no')",
    "userfaultfd": CTYPES + "print('LEAK' if libc.syscall(NR['userfaultfd'], 1) >= 0 else 'no')",
    "inotify": CTYPES + "print('LEAK' if libc.inotify_init1(0) >= 0 else 'no')",
    "eventfd": "import os\nos.eventfd(0)\nprint('LEAK')",
    "undoing seccomp": CTYPES + "print('LEAK' if libc.prctl(22, 0, 0, 0, 0) == 0 or libc.prctl(4, 1, 0, 0, 0) == 0"
    " else 'no')",
    "writable and executable pages": "import mmap\nmmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)\nprint('LEAK')",
    "pages made executable": CTYPES + "import mmap\nm = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
    "at = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
    "print('LEAK' if libc.mprotect(ctypes.c_void_p(at), 4096, 5) == 0 else 'no')",
    "pages made executable by key": CTYPES
    + "import mmap\nm = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
    "at = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
    "print('LEAK' if libc.syscall(NR['pkey_mprotect'], ctypes.c_void_p(at), 4096, 5, -1) == 0 else 'no')",
    "readable means executable": CTYPES + "print('LEAK' if libc.personality(0x0400000) >= 0 else 'no')",
}
BOMBS = {
    "one large block": "x = bytearray(3 << 30)\nprint('LEAK')",
    "many blocks": "x = []\nfor _ in range(1200): x.append(bytes(1 << 20))\nprint('LEAK')",
    "unpacking": "import zlib\np = zlib.compress(bytes(64 << 20), 1)\n"
    "d = [zlib.decompress(p) for _ in range(18)]\nprint('LEAK')",
    "threads": "import threading\nstop = threading.Event()\nthreading.stack_size(65536)\n"
    "for _ in range(400): threading.Thread(target=stop.wait, daemon=True).start()\nprint('LEAK')",
    "descriptors": "import socket\nx = [socket.socketpair() for _ in range(100)]\nprint('LEAK')",
    "mapped memory": "import mmap\nx = [mmap.mmap(-1, 1 << 28, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(12)]\n"
    "print('LEAK')",
    "output": "for _ in range(40): print('LEAK' * (1 << 18))",
}
# More than the limit of a session, by what its address space does not show.
MEMORY = {
    "shared pages unmapped but for one": PAGES + "size = 64 << 20\nkept = []\nfor _ in range(10):\n"
    "    at = libc.mmap(None, size, 3, 0x21, -1, 0)\n    assert at != FAILED\n    ctypes.memset(at, 7, size)\n"
    "    libc.munmap(at + PAGE, size - PAGE)\n    kept.append(at)\n"
    "still = 0\nfor at in kept:\n    whole = libc.mremap(at, PAGE, size, 1)\n    assert whole != FAILED\n"
    "    still += size * (ctypes.string_at(whole + size - 1, 1) == bytes([7]))\n    libc.munmap(whole + PAGE, size - PAGE)\n"
    "print('LEAK' if still > 600 << 20 else 'no')",
    "shared pages by the mmap module": "import mmap\nm = mmap.mmap(-1, 1 << 20)\nm[0] = 7\nprint('LEAK')",
    "page tables": PAGES + "import time\nfor n in range(60_000):\n"
    "    at = libc.mmap((1 << 40) + (n << 30), PAGE, 3, 0x100022, -1, 0)\n    assert at != FAILED\n"
    "    ctypes.memset(at, 7, 1)\ntime.sleep(0.5)\nprint('LEAK')",
}
CLOCKS = {
    "processor time of another process": "import time\nprint('LEAK' if time.clock_gettime(~VICTIM << 3 | 2) >= 0 else 'no')",
    "whether a process is there, by its clock": "import time\nprint('LEAK' if time.clock_getres(~VICTIM << 3 | 2) else 'no')",
    "waiting for another's processor time": CTYPES + "past = (ctypes.c_long * 2)(0, 0)\n"
    "print('LEAK' if libc.clock_nanosleep(~VICTIM << 3 | 2, 1, past, None) == 0 else 'no')",
    "all processes, by their clocks": "import time\nfound = 0\nfor pid in range(1, VICTIM + 1):\n    try:\n"
    "        time.clock_gettime(~pid << 3 | 2)\n        found += 1\n    except OSError: pass\n"
    "print('LEAK' if found > 1 else 'no')",
}
AFFINITY = {
    "processors of another process": "import os\nprint('LEAK' if os.sched_getaffinity(VICTIM) else 'no')",
    "processors of the parent": CTYPES + "mask = ctypes.create_string_buffer(128)\n"
    "print('LEAK' if libc.sched_getaffinity(1, 128, mask) == 0 else 'no')",
    "all processes, by their processors": "import os\nfound = 0\nfor pid in range(1, VICTIM + 1):\n    try:\n"
    "        os.sched_getaffinity(pid)\n        found += 1\n    except OSError: pass\nprint('LEAK' if found > 1 else 'no')",
}
LOCKS = {
    "all processes, by the owner of a lock": CTYPES + "answers = set()\nfor pid in range(1, VICTIM + 1):\n"
    "    word = ctypes.c_uint32(pid)\n    libc.syscall(NR['futex'], ctypes.byref(word), 8, 0, None, None, 0)\n"
    "    answers.add(ctypes.get_errno())\nprint('LEAK' if 3 in answers and len(answers) > 1 else 'no')",
    **{
        f"a process, by waiting for its lock ({op})": CTYPES
        + "word = ctypes.c_uint32(VICTIM)\npast = (ctypes.c_long * 2)(0, 0)\n"
        f"libc.syscall(NR['futex'], ctypes.byref(word), {op}, 0, past, None, 0)\nprint('LEAK' if ctypes.get_errno() == 110 else 'no')"
        for op in (6, 13)
    },
}
DISTURBING = {
    "a 32-bit system call": CTYPES + "print('LEAK' if libc.syscall(0x40000000 | 39) > 0 else 'no')",
    "recursion": "def f(): return f()\nf()",
    "recursion without limit": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
    "recursion in C": "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
    "many lines": "while True: print('x' * 1000)",
    "lines to stderr": "import sys\nfor _ in range(10**5): sys.stderr.write('y' * 1000)",
    "an error of 100 MB": "raise ValueError('z' * 100_000_000)",
    "an error without text": "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
    "an endless error text": "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
    "a thousand names": "for i in range(5000): globals()['n' * 600 + str(i)] = 'v' * 2000",
    "a name's endless repr": "class R:\n    def __repr__(self):\n        while True: pass\nr = R()\nl = [R()]",
    "an answer of 100 MB": "answer('a' * 100_000_000)",
    "an answer of a million items": "answer([[]] * 1_000_000)",
    "a deep answer": "x = []\nfor _ in range(5000): x = [x]\nanswer(x)",
    "an answer that is no JSON": "answer(float('nan'))",
    "os._exit": "import os\nos._exit(0)",
    "abort": "import os\nos.abort()",
    "a wild pointer": "import ctypes\nctypes.string_at(0)",
    "stopping itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "replies closed": "import os\nos.close(4)",
    "requests closed": "import os\nos.close(3)",
    "all closed": "import os\nos.closerange(0, 64)",
    "poisoned builtins": "import builtins\nfor n in ('len', 'print', 'isinstance', 'str', 'dict', 'open', '__import__'):\n"
    "    setattr(builtins, n, None)",
    "builtins emptied": "import builtins\nvars(builtins).clear()",
    "own __builtins__": "__builtins__ = {}",
    "poisoned json": "import json, json.encoder\njson.dumps = json.loads = None\njson.JSONEncoder.iterencode = None\n"
    "json.encoder.c_make_encoder = None",
    "poisoned modules": "import sys\nsys.modules.clear()",
    "poisoned stdout": "import sys\nsys.stdout = sys.stderr = None\nsys.__stdout__ = None",
    "a tracer": "import sys\ndef t(*a): raise RuntimeError\nsys.settrace(t)",
    "an audit hook": "import sys\ndef h(*a): raise RuntimeError\nsys.addaudithook(h)",
    "our functions overwritten": "context = answer = Error = echo = None",
    "interrupts swallowed": "x = 0\nwhile True:\n    try:\n        x += 1\n        while True: x += 1\n    except BaseException: pass",
    "interrupts ignored": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "interrupts blocked": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\nwhile True: pass",
    "a loop in C": "sum(range(10**13))",
    "a lock never given": "import threading\nl = threading.Lock()\nl.acquire()\nwhile True:\n    try: l.acquire()\n"
    "    except BaseException: pass",
}
FRAMES = {
    "half a head": "os.write(4, b'\\x00\\x00')\nwhile True:\n    try: time.sleep(9)\n    except BaseException: pass",
    "half a body": "os.write(4, b'\\x00\\x00\\x10\\x00{')\nos._exit(0)",
    "four gigabytes announced": "os.write(4, b'\\xff\\xff\\xff\\xff')",
    "nothing announced": "os.write(4, b'\\x00\\x00\\x00\\x00')",
    "no JSON": "frame(b'no json at all')",
    "no object": "frame(b'[1]')",
    "no UTF-8": 'frame(b\'{"a":"\\xff"}\')',
    "wide": "frame(b'{\"id\":\"' + channel._step.encode() + b'\",\"result\":[' + b'[],' * 2_500_000 + b'[]]}')",
    "deep": "frame(b'{\"id\":\"' + channel._step.encode() + b'\",\"result\":' + b'[' * 200_000)",
    "unending text": "frame(b'{\"id\":\"' + b'\\\\\"' * 3_000_000)",
    "a long number": "frame(b'{\"id\":' + b'9' * 5_000_000 + b'}')",
    "infinity": 'frame(b\'{"id":"\' + channel._step.encode() + b\'","result":1e999}\')',
    "another id": "frame({'id': 'guess', 'result': {}})",
    "no id": "frame({'result': {}})",
    "a result that is none": "frame({'id': channel._step, 'result': 7})",
    "a result with a wrong field": "frame(result(stdout_length=-1))",
    "a result with a long text": "frame(result(stdout='x' * 7_000_000))",
    "a result with many names": "frame(result(names=[['a', 'b', 1, '', '']] * 20_000))",
    "two results": "frame(result())\nframe(result())",
    "a result too early": "frame(result())\ntime.sleep(0.2)",
    "a surrogate": 'frame(b\'{"id":"\' + channel._step.encode() + b\'","result":"\\\\ud800"}\')',
    "a frame of a thread, late": "i = channel._step\ndef late():\n    for _ in range(200):\n        time.sleep(0.001)\n"
    "        frame({'id': i, 'call': 7, 'name': 'echo', 'arguments': {'text': 'late'}})\n"
    "threading.Thread(target=late).start()",
    "a function that is not offered": "print(channel.call('system', {'command': 'id'}))",
    "a private method": "print(channel.call('__class__', {}))",
    "arguments that are no object": "frame({'id': channel._step, 'call': 1, 'name': 'echo', 'arguments': [1]})",
    "arguments of another type": "print(channel.call('echo', {'text': {'a': 1}}))",
    "a call number of another type": "frame({'id': channel._step, 'call': True, 'name': 'echo', 'arguments': {}})",
    "one number twice": "for _ in range(2): frame({'id': channel._step, 'call': 5, 'name': 'slow', 'arguments': {}})\n"
    "time.sleep(1)",
    "a flood of calls": "for n in range(1, 3000): frame({'id': channel._step, 'call': n, 'name': 'slow',"
    " 'arguments': {}})",
    "replies never read": "for n in range(1, 200): frame({'id': channel._step, 'call': n, 'name': 'large',"
    " 'arguments': {}})\nwhile True:\n    try: time.sleep(9)\n    except BaseException: pass",
    "the host's frames eaten": "def eat():\n    while True: os.read(3, 100)\n"
    "threading.Thread(target=eat, daemon=True).start()\ntime.sleep(0.1)",
}

ESCAPES: tuple[Attempt, ...] = (
    *_all("environment", ENVIRONMENT),
    *_all("files", FILES),
    *_all("/proc and memory of others", PROCESSES_MEMORY),
    *_all("network and sockets", NETWORK),
    *_all("inherited descriptors", DESCRIPTORS),
    *_all("writing", WRITING),
    *_all("starting and signalling", STARTING),
    *_all("kernel and executable pages", KERNEL),
    *_all("bombs", BOMBS),
    *_all("kinds of memory", MEMORY),
    *_all("clocks of others", CLOCKS),
    *_all("processors of others", AFFINITY),
    *_all("locks of others", LOCKS),
    *_all("disturbing", DISTURBING, leaks=False),
    *_all("frames", FRAMES, before=CHANNEL, leaks=False),
)
