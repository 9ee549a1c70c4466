"""
The process that sessions are forked from: a Python that has loaded what it may need, and holds nothing else.

Standard library only, run alone: an environment of two variables that we set, no site packages, no descriptor of the
host but one socket. It never runs a model's code itself. It ends with its host: by the socket, and by the kernel.

On the socket, one message is one request: JSON, with the three descriptors of the session; the answer has the
session's process id, and a descriptor of that process, which no later process can take the place of. `QUESTION` asks
only whether this process answers, and is sent back.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import warnings
from contextlib import suppress
from typing import Any, NoReturn

from rlmwatch.sandbox.guest import worker
from rlmwatch.sandbox.guest.frames import QUESTION
from rlmwatch.sandbox.guest.lockdown import FIRST_FREE_FD, Policy, as_refused, end_with, lock

MAX_MESSAGE_BYTES = 64 * 1024
_SCRATCH_FD = 64  # descriptors are moved here before they take their fixed places

# Not loaded: they open a browser or a display, belong to tests and installing, or are gone in later versions.
_LEFT_OUT = frozenset(
    """antigravity this idlelib lib2to3 tkinter turtle turtledemo test ensurepip venv distutils msilib winreg winsound
    nt curses readline pty tty cgi cgitb crypt nis spwd ossaudiodev imp asyncore asynchat smtpd msvcrt audioop chunk
    sndhdr sunau aifc imghdr nntplib telnetlib uu xdrlib mailcap pipes sre_compile sre_constants sre_parse site
    """.split(),  # noqa: SIM905 (read as prose)
)
# Loaded by others only when they are first used, when no file can be read any more.
_LATE = """
    _strptime _threading_local _md5 _sha1 _sha256 _sha3 concurrent.futures.thread concurrent.futures.process
    multiprocessing.pool multiprocessing.dummy multiprocessing.synchronize multiprocessing.managers
    multiprocessing.shared_memory multiprocessing.popen_fork multiprocessing.resource_tracker xml.etree.ElementTree
    xml.dom.minidom xml.dom.expatbuilder xml.dom.pulldom xml.sax.expatreader xml.sax.saxutils http.cookiejar
    unittest._log unittest.async_case html.parser html.entities urllib.parse urllib.request urllib.error
    urllib.robotparser http.client http.cookies http.server email.message email.parser email.policy email.utils
    email.header email.mime.text email.mime.multipart email.generator email.headerregistry json.tool json.scanner
    logging.config logging.handlers unittest.mock collections.abc importlib.metadata importlib.resources
    importlib.util ctypes.util asyncio.taskgroups asyncio.timeouts asyncio.runners wsgiref.util xmlrpc.client
    zoneinfo._common stringprep encodings.idna encodings.punycode encodings.ascii encodings.latin_1 encodings.utf_8
    encodings.utf_8_sig encodings.utf_16 encodings.utf_16_le encodings.utf_16_be encodings.utf_32 encodings.utf_7
    encodings.cp1252 encodings.cp1250 encodings.cp1251 encodings.cp437 encodings.cp850 encodings.iso8859_1
    encodings.iso8859_2 encodings.iso8859_15 encodings.koi8_r encodings.mac_roman encodings.gbk encodings.gb18030
    encodings.gb2312 encodings.big5 encodings.shift_jis encodings.cp932 encodings.euc_jp encodings.euc_kr
    encodings.rot_13 encodings.base64_codec encodings.hex_codec encodings.zlib_codec encodings.bz2_codec
    encodings.quopri_codec encodings.unicode_escape encodings.raw_unicode_escape encodings.charmap
    encodings.undefined
""".split()  # noqa: SIM905


def main() -> NoReturn:
    """Run as `zygote serve SOCKET HOST` or `zygote probe POLICY HOST`, the host being its process id."""
    what, argument, host = sys.argv[-3:]
    if what == "probe":
        _probe(json.loads(argument), int(host))
    _serve(socket.socket(fileno=int(argument)), int(host))


def _serve(control: socket.socket, host: int) -> NoReturn:
    end_with(host)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
        score.write("1000")  # when memory runs out, a session goes before its host does
    _preload()
    worker.warm_up()
    empty_root = empty_folder()
    gc.collect()
    gc.freeze()  # so that no collection in a session copies what all of them share
    control.send(b"{}")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 3)
        if not message:
            os._exit(0)
        if message == QUESTION:
            control.send(QUESTION)
            continue
        _fork(control, json.loads(message), descriptors, empty_root)


def _preload() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        public = [name for name in sorted(sys.stdlib_module_names - _LEFT_OUT) if not name.startswith("_")]
        for name in [*public, *_LATE]:
            with suppress(Exception):  # not built into this Python, or not for this system
                importlib.import_module(name)


def empty_folder() -> int:
    """Return a descriptor of an empty folder that has no name, so that nothing can ever be put in; -1 for none."""
    try:
        folder = tempfile.mkdtemp(prefix="rlmwatch-")
    except OSError:
        return -1
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fchmod(descriptor, 0o555)  # sessions enter it as another user
    os.rmdir(folder)  # noqa: PTH106
    return descriptor


def _fork(control: socket.socket, request: dict[str, Any], descriptors: list[int], empty_root: int) -> None:
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        control.send(json.dumps({"error": str(error), "errno": error.errno}).encode())
        pid = -1
    if pid == 0:
        try:
            root = _arrange(descriptors, empty_root)
            worker.work(Policy(**request["policy"]), hello=request["hello"], parent=parent, empty_root=root)
        finally:
            os._exit(1)
    if pid > 0:
        process = os.pidfd_open(pid)
        socket.send_fds(control, [json.dumps({"pid": pid}).encode()], [process])
        os.close(process)
    for descriptor in descriptors:
        os.close(descriptor)


def _arrange(descriptors: list[int], empty_root: int) -> int:
    """Put the session's descriptors in their places, close all others, and return where the empty folder is."""
    null = os.open(os.devnull, os.O_RDWR)
    wanted = [null, null, null, *descriptors, *([empty_root] if empty_root >= 0 else [])]
    for place, moved in enumerate([fcntl.fcntl(one, fcntl.F_DUPFD, _SCRATCH_FD) for one in wanted]):
        os.dup2(moved, place, inheritable=False)
    os.closerange(len(wanted), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return FIRST_FREE_FD if empty_root >= 0 else -1


def _probe(policy: dict[str, Any], host: int) -> NoReturn:
    """Lock down as a session does, write each layer before it is tried and all of them after, wait for the end."""

    def note(layer: str) -> None:
        os.write(1, json.dumps({"trying": layer}).encode() + b"\n")

    code = 1
    try:
        layers = lock(Policy(**policy), parent=host, empty_root=empty_folder(), note=note)
        os.write(1, json.dumps({"layers": layers}).encode() + b"\n")
        os.read(0, 1)
        code = 0
    except Exception as error:  # noqa: BLE001 (the host is told, whatever it is)
        os.write(1, json.dumps({"refused": as_refused(error)}).encode() + b"\n")
    finally:
        os._exit(code)
