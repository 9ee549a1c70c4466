# ruff: noqa: E501 (cells are quoted as they are)
"""
What models really write: cells that need no file, no network and no process. All of them must work.

Each is a name and a cell that raises when something is not as it should be. `context` is `CONTEXT`.
"""

from __future__ import annotations

CONTEXT = "".join(
    f"line {n}: user{n % 7} said {'yes' if n % 3 else 'no'} on 2024-0{n % 9 + 1}-1{n % 9}\n" for n in range(400)
)

ORDINARY: dict[str, str] = {
    "look at the head": "print(context[:200])\nprint(len(context))\nassert context.startswith('line 0')",
    "split into lines": "lines = context.splitlines()\nassert len(lines) == 400",
    "chunks": "chunks = [context[i:i + 1000] for i in range(0, len(context), 1000)]\nassert ''.join(chunks) == context",
    "regular expressions": "import re\nfound = re.findall(r'user(\\d) said (yes|no)', context)\nassert len(found) == 400",
    "named groups": "import re\nm = re.search(r'(?P<y>\\d{4})-(?P<m>\\d\\d)', context)\nassert m['y'] == '2024'",
    "substitution by a function": "import re\nassert re.sub(r'\\d+', lambda m: str(int(m[0]) + 1), 'a1b2') == 'a2b3'",
    "a compiled verbose pattern": "import re\np = re.compile(r'''\n  (\\w+)  # word\n  \\s+''', re.X | re.I)\nassert p.match('ab c')",
    "counting": "from collections import Counter\nc = Counter(re.findall(r'user\\d', context))\nassert c.most_common(1)[0][1] == 58",
    "grouping": "from collections import defaultdict\ng = defaultdict(list)\nfor u, a in found: g[u].append(a)\nassert len(g) == 7",
    "deque and chain map": "from collections import deque, ChainMap, OrderedDict\nd = deque(range(9), maxlen=3)\n"
    "assert list(d) == [6, 7, 8] and ChainMap({'a': 1}, {'b': 2})['b'] == 2",
    "named tuple": "from collections import namedtuple\nP = namedtuple('P', 'x y')\nassert P(1, 2)._replace(x=3) == (3, 2)",
    "json": "import json\ns = json.dumps({'a': [1, 2.5, None, True, 'é']}, ensure_ascii=False, indent=2)\n"
    "assert json.loads(s)['a'][4] == 'é'",
    "json lines": "import json\nrows = [json.loads(l) for l in '{\"n\": 1}\\n{\"n\": 2}'.splitlines()]\nassert rows[1]['n'] == 2",
    "a json error is caught": "import json\ntry:\n    json.loads('{')\nexcept json.JSONDecodeError as e:\n    assert e.pos == 1",
    "csv from text": "import csv, io\nr = list(csv.DictReader(io.StringIO('a,b\\n1,\"x, y\"\\n')))\nassert r[0]['b'] == 'x, y'",
    "csv to text": "import csv, io\no = io.StringIO()\ncsv.writer(o).writerow(['a', 'b, c'])\nassert o.getvalue() == 'a,\"b, c\"\\r\\n'",
    "statistics": "import statistics as st\nassert st.mean([1, 2, 3]) == 2 and round(st.stdev([1, 2, 3, 4]), 3) == 1.291\n"
    "assert st.quantiles(range(10))[1] == 4.5 and st.NormalDist(0, 1).cdf(0) == 0.5",
    "dates": "from datetime import datetime, timedelta, date, timezone\nd = datetime.strptime('2024-02-28', '%Y-%m-%d')\n"
    "assert (d + timedelta(days=2)).date() == date(2024, 3, 1)\nassert d.strftime('%A') == 'Wednesday'",
    "dates in ISO form": "from datetime import datetime, timezone\nassert datetime.fromisoformat('2024-01-01T10:00:00+00:00')"
    ".tzinfo == timezone.utc\nassert datetime.now().year > 2000",
    "time": "import time\nt = time.perf_counter()\ntime.sleep(0.01)\nassert time.perf_counter() > t and time.time() > 1e9\n"
    "assert time.strftime('%Y', time.gmtime(0)) == '1970'\ntime.localtime()",
    "calendar": "import calendar\nassert calendar.monthrange(2024, 2)[1] == 29\nassert 'March' in calendar.month(2024, 3)",
    "itertools": "from itertools import groupby, islice, chain, combinations, product, accumulate, pairwise, zip_longest\n"
    "assert list(islice(accumulate([1, 2, 3]), 3)) == [1, 3, 6] and len(list(combinations(range(5), 2))) == 10\n"
    "assert [k for k, _ in groupby('aabb')] == ['a', 'b'] and list(pairwise([1, 2, 3])) == [(1, 2), (2, 3)]",
    "functools": "from functools import lru_cache, reduce, partial, cache, cmp_to_key, singledispatch\n@cache\ndef fib(n):\n"
    "    return n if n < 2 else fib(n - 1) + fib(n - 2)\nassert fib(80) == 23416728348467685",
    "operator": "from operator import itemgetter, attrgetter\nassert sorted([(2, 'a'), (1, 'b')], key=itemgetter(0))[0][1] == 'b'",
    "heapq and bisect": "import heapq, bisect\nassert heapq.nlargest(2, [3, 1, 4]) == [4, 3]\nassert bisect.bisect([1, 3], 2) == 1",
    "textwrap": "import textwrap\nassert textwrap.fill('a b c d', 3) == 'a b\\nc d'\nassert textwrap.dedent('  x') == 'x'\n"
    "assert textwrap.shorten('Hello big world', 12) == 'Hello [...]'",
    "difflib": "import difflib\nassert difflib.get_close_matches('appel', ['ape', 'apple'])[0] == 'apple'\n"
    "assert round(difflib.SequenceMatcher(None, 'abcd', 'bcde').ratio(), 2) == 0.75\n"
    "assert '+b' in list(difflib.unified_diff(['a'], ['b'], lineterm=''))",
    "hashes": "import hashlib, hmac\nassert hashlib.sha256(b'a').hexdigest().startswith('ca978112')\n"
    "assert hashlib.md5(b'').hexdigest().startswith('d41d') and hmac.new(b'k', b'm', 'sha1').hexdigest()\n"
    "assert hashlib.blake2b(b'x').digest_size == 64 and hashlib.sha3_256(b'').hexdigest().startswith('a7ff')",
    "decimals": "from decimal import Decimal, getcontext, ROUND_HALF_UP\ngetcontext().prec = 30\n"
    "assert Decimal('0.1') + Decimal('0.2') == Decimal('0.3')\nassert Decimal('2.675').quantize(Decimal('.01'), ROUND_HALF_UP)"
    " == Decimal('2.68')",
    "fractions": "from fractions import Fraction\nassert Fraction(1, 3) + Fraction(1, 6) == Fraction(1, 2)",
    "math": "import math, cmath\nassert math.comb(5, 2) == 10 and math.isclose(math.pi, 3.14159265, rel_tol=1e-8)\n"
    "assert math.gcd(12, 18) == 6 and cmath.sqrt(-1) == 1j and math.prod([2, 3]) == 6",
    "big integers": "x = 3 ** 5000\nassert len(str(x)) == 2386 and pow(7, 10 ** 6, 13) == 9",
    "random": "import random\nrandom.seed(1)\nassert random.sample(range(10), 3) == [2, 1, 4]\nrandom.shuffle([1, 2])\n"
    "random.Random(3).choices('abc', weights=[1, 2, 3], k=4)",
    "secrets and uuid": "import secrets, uuid\nassert len(secrets.token_hex(8)) == 16 and uuid.uuid4().version == 4\n"
    "assert str(uuid.uuid5(uuid.NAMESPACE_DNS, 'a'))[14] == '5'",
    "base64": "import base64, binascii\nassert base64.b64decode(base64.b64encode(b'abc')) == b'abc'\nassert binascii.hexlify(b'a') == b'61'",
    "compression in memory": "import zlib, gzip, bz2, lzma\nfor m in (zlib, gzip, bz2, lzma):\n"
    "    assert m.decompress(m.compress(b'abc' * 99)) == b'abc' * 99",
    "a zip in memory": "import zipfile, io\nb = io.BytesIO()\nwith zipfile.ZipFile(b, 'w', zipfile.ZIP_DEFLATED) as z:\n"
    "    z.writestr('a.txt', 'hi')\nassert zipfile.ZipFile(b).read('a.txt') == b'hi'",
    "a tar in memory": "import tarfile, io\nb = io.BytesIO()\nwith tarfile.open(fileobj=b, mode='w') as t:\n"
    "    i = tarfile.TarInfo('a'); i.size = 2\n    t.addfile(i, io.BytesIO(b'hi'))\nb.seek(0)\nassert tarfile.open(fileobj=b).getnames() == ['a']",
    "struct and array": "import struct, array\nassert struct.unpack('<IH', struct.pack('<IH', 7, 8)) == (7, 8)\n"
    "assert array.array('d', [1, 2]).itemsize == 8",
    "unicode": "import unicodedata\nassert unicodedata.normalize('NFD', 'é') == 'e\\u0301' and unicodedata.name('ß').startswith('LATIN')",
    "encodings": "for c in ('utf-8', 'latin-1', 'cp1252', 'utf-16', 'ascii', 'gb18030', 'shift_jis', 'koi8_r', 'rot13'):\n"
    "    import codecs\n    codecs.lookup(c)\nassert 'ü'.encode('cp1252') == b'\\xfc' and 'bücher'.encode('idna') == b'xn--bcher-kva'",
    "html": "import html\nfrom html.parser import HTMLParser\nclass P(HTMLParser):\n    out = []\n"
    "    def handle_data(self, d): self.out.append(d)\np = P()\np.feed('<p>a <b>b</b></p>')\nassert ''.join(p.out) == 'a b'\n"
    "assert html.unescape('&eacute;&lt;') == 'é<'",
    "xml": "import xml.etree.ElementTree as ET\nr = ET.fromstring('<a><b x=\"1\">t</b></a>')\n"
    "assert r.find('b').text == 't' and r.findall('.//b[@x]') and ET.tostring(r)",
    "minidom": "from xml.dom import minidom\nassert minidom.parseString('<a><b/></a>').documentElement.tagName == 'a'",
    "urls": "from urllib.parse import urlparse, urlencode, quote, parse_qs, urljoin\n"
    "assert urlparse('https://a.b/c?d=e#f').query == 'd=e' and quote('a b/c') == 'a%20b/c' and parse_qs('a=1&a=2')['a'] == ['1', '2']",
    "addresses": "import ipaddress\nassert ipaddress.ip_address('10.0.0.1') in ipaddress.ip_network('10.0.0.0/8')",
    "e-mail": "from email import message_from_string\nfrom email.message import EmailMessage\n"
    "assert message_from_string('Subject: x\\n\\nbody')['subject'] == 'x'\nm = EmailMessage(); m.set_content('é'); m.as_string()",
    "configuration": "import configparser, tomllib\nc = configparser.ConfigParser()\nc.read_string('[a]\\nb = 1')\n"
    "assert c['a']['b'] == '1' and tomllib.loads('x = [1]')['x'] == [1]",
    "dataclasses": "from dataclasses import dataclass, field, asdict, replace\n@dataclass(order=True, frozen=True)\nclass D:\n"
    "    a: int\n    b: list = field(default_factory=list)\nassert asdict(D(1)) == {'a': 1, 'b': []} and D(1) < D(2)",
    "enums": "from enum import Enum, auto, IntFlag\nclass E(Enum):\n    A = auto()\n    B = 'b'\nassert E('b') is E.B and len(E) == 2",
    "abstract classes and protocols": "import abc, typing\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\n"
    "try:\n    A()\n    assert False\nexcept TypeError: pass\nclass T(typing.TypedDict):\n    x: int\ntyping.get_type_hints(T)",
    "classes and properties": "class Point:\n    __slots__ = ('x',)\n    def __init__(self, x): self.x = x\n    @property\n"
    "    def double(self): return self.x * 2\n    def __repr__(self): return f'Point({self.x})'\nassert repr(Point(2)) == 'Point(2)'",
    "matching": "def kind(v):\n    match v:\n        case {'a': int(x)}: return x\n        case [_, *rest]: return rest\n        case _: return None\n"
    "assert kind({'a': 3}) == 3 and kind([1, 2]) == [2]",
    "generators": "def g():\n    got = yield 1\n    yield got\ni = g()\nassert next(i) == 1 and i.send(5) == 5\nassert sum(x * x for x in range(4)) == 14",
    "context managers": "from contextlib import contextmanager, suppress, ExitStack, redirect_stdout\nimport io\n"
    "b = io.StringIO()\nwith redirect_stdout(b): print('in')\nassert b.getvalue() == 'in\\n'\nwith suppress(KeyError): {}['a']",
    "exceptions": "try:\n    try:\n        1 / 0\n    except ZeroDivisionError as e:\n        raise ValueError('x') from e\n"
    "except ValueError as e:\n    assert isinstance(e.__cause__, ZeroDivisionError)\nfinally:\n    done = True",
    "exception groups": "try:\n    raise ExceptionGroup('g', [ValueError(1), TypeError(2)])\nexcept* ValueError as g:\n    assert len(g.exceptions) == 1\n"
    "except* TypeError: pass",
    "tracebacks": "import traceback\ntry: 1 / 0\nexcept Exception: t = traceback.format_exc()\nassert '1 / 0' in t",
    "comprehensions and unpacking": "a, *b = [1, 2, 3]\nm = {k: v for k, v in zip('ab', b)}\nassert m == {'a': 2, 'b': 3} and [*b, *{1}] == [2, 3, 1]",
    "formatting": "assert f'{3.14159:.2f}|{1234567:,}|{\"x\":>3}|{7:03d}|{0.5:.0%}' == '3.14|1,234,567|  x|007|50%'\n"
    "from string import Template, ascii_lowercase\nassert Template('$a').substitute(a=1) == '1'",
    "pretty printing": "import pprint, reprlib\npprint.pprint({'a': list(range(40))})\nassert reprlib.repr('x' * 99).count('.') == 3",
    "sorting": "w = sorted({'bb', 'a', 'ccc'}, key=lambda s: (-len(s), s))\nassert w == ['ccc', 'bb', 'a'] and max(w, key=len) == 'ccc'",
    "sets": "assert {1, 2} & {2, 3} == {2} and frozenset([1]) <= {1, 2} and {1} ^ {2} == {1, 2}",
    "a thread pool": "from concurrent.futures import ThreadPoolExecutor, as_completed\nwith ThreadPoolExecutor(8) as pool:\n"
    "    assert sorted(pool.map(lambda x: x * x, range(20)))[-1] == 361\n    f = [pool.submit(pow, 2, n) for n in range(5)]\n"
    "    assert sum(x.result() for x in as_completed(f)) == 31",
    "threads and locks": "import threading, queue\nq = queue.Queue()\nlock = threading.Lock()\ndef work():\n    with lock: q.put(1)\n"
    "ts = [threading.Thread(target=work) for _ in range(10)]\n[t.start() for t in ts]\n[t.join() for t in ts]\nassert q.qsize() == 10",
    "clocks and processors": "import os, time\nassert time.thread_time() >= 0 and time.process_time() > 0 and os.cpu_count() > 0\n"
    "assert all(time.get_clock_info(c).resolution > 0 for c in ('monotonic', 'time', 'process_time', 'thread_time'))\n"
    "assert os.sched_getaffinity(0) and time.clock_gettime(time.CLOCK_BOOTTIME) > 0 and time.clock_gettime_ns(time.CLOCK_TAI)",
    "where a thread's stack is": "import ctypes, threading\nlibc = ctypes.CDLL(None)\ndef ask():\n"
    "    libc.pthread_self.restype = ctypes.c_void_p\n"
    "    found.append(libc.pthread_getattr_np(ctypes.c_void_p(libc.pthread_self()), ctypes.create_string_buffer(64)))\n"
    "found = []\nt = threading.Thread(target=ask)\nt.start()\nt.join()\nassert found == [0], found",
    "private mapped memory": "import mmap\nm = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\nm[5] = 1\nm.close()",
    "asyncio": "import asyncio\nasync def one(n):\n    await asyncio.sleep(0.001)\n    return n\nasync def main():\n"
    "    return await asyncio.gather(*(one(n) for n in range(5)))\nassert asyncio.run(main()) == [0, 1, 2, 3, 4]",
    "asyncio with threads and timeouts": "import asyncio\nasync def main():\n    async with asyncio.timeout(5):\n"
    "        async with asyncio.TaskGroup() as g:\n            t = g.create_task(asyncio.to_thread(sum, [1, 2]))\n    return t.result()\nassert asyncio.run(main()) == 3",
    "copying and pickling": "import copy, pickle\nclass K:\n    def __init__(self): self.v = [1]\nk = pickle.loads(pickle.dumps(K()))\n"
    "assert k.v == [1] and copy.deepcopy(k).v == [1]",
    "a database in memory": "import sqlite3\nd = sqlite3.connect(':memory:')\nd.execute('create table t (a, b)')\n"
    "d.executemany('insert into t values (?, ?)', [(i, str(i)) for i in range(50)])\n"
    "assert d.execute('select sum(a) from t where b like \"1%\"').fetchone()[0] == 146",
    "parsing Python": "import ast, tokenize, io\nt = ast.parse('x = 1 + 2')\nassert isinstance(t.body[0], ast.Assign) and ast.unparse(t) == 'x = 1 + 2'\n"
    "assert ast.literal_eval('[1, {\"a\": (2,)}]')[1]['a'] == (2,)",
    "eval and exec": "assert eval('1 + 2') == 3\nspace = {}\nexec('def h(): return 9', space)\nassert space['h']() == 9",
    "introspection": "import inspect\ndef documented(a, b=2):\n    'It says.'\nassert str(inspect.signature(documented)) == '(a, b=2)'\n"
    "assert 'It says' in inspect.getsource(documented)",
    "arguments": "import argparse, shlex\np = argparse.ArgumentParser(prog='x')\np.add_argument('--n', type=int)\n"
    "assert p.parse_args(shlex.split('--n 3')).n == 3",
    "logging": "import logging\nlogging.basicConfig(level=logging.INFO, force=True)\nlogging.info('seen')",
    "warnings": "import warnings\nwith warnings.catch_warnings(record=True) as w:\n    warnings.simplefilter('always')\n    warnings.warn('x')\nassert len(w) == 1",
    "graphs": "from graphlib import TopologicalSorter\nassert list(TopologicalSorter({'b': ['a']}).static_order()) == ['a', 'b']",
    "weak references": "import weakref, gc\nclass W: pass\nw = W()\nr = weakref.ref(w)\ndel w\ngc.collect()\nassert r() is None",
    "paths as text": "from pathlib import PurePosixPath, Path\nimport os.path\nassert PurePosixPath('/a/b.txt').suffix == '.txt'\n"
    "assert os.path.join('a', 'b') == 'a/b' and Path('x').with_suffix('.md').name == 'x.md'",
    "patterns of names": "import fnmatch, glob\nassert fnmatch.filter(['a.py', 'b.txt'], '*.py') == ['a.py']",
    "languages": "import gettext, locale\nassert locale.format_string('%d', 5) == '5'",
    "testing": "import unittest, doctest\nfrom unittest.mock import Mock\nm = Mock(return_value=3)\nassert m(1) == 3 and m.called",
    "timing": "import timeit\nassert timeit.timeit('1 + 1', number=100) > 0",
    "sampling lines": "import random\nfor l in random.Random(0).sample(lines, 3): print(l)",
    "a table of counts": "for user, n in sorted(Counter(re.findall(r'user\\d', context)).items()): print(f'{user:<8}{n:>5}')",
    "ctypes structures": "import ctypes\nclass S(ctypes.Structure):\n    _fields_ = [('a', ctypes.c_int)]\nassert ctypes.sizeof(S) == 4",
    "system facts": "import sys, platform, os\nassert sys.version_info >= (3, 11) and sys.maxsize > 0 and os.sep == '/' and os.getpid() > 0\n"
    "assert os.cpu_count() is None or os.cpu_count() > 0\nplatform.python_version()",
    "no environment": "import os\nassert dict(os.environ) == {} and os.getenv('HOME') is None",
    "an import that is not there": "try:\n    import numpy\nexcept ImportError:\n    numpy = None\nassert numpy is None",
    "input is at its end": "try:\n    input()\nexcept EOFError:\n    pass",
    "bytes to stdout": "import sys\nsys.stdout.write('a\\n')\nsys.stdout.buffer.write(b'b\\n')\nsys.stdout.flush()\nprint('c', file=sys.stderr)",
    "zones": "from datetime import datetime, timezone, timedelta\ntz = timezone(timedelta(hours=2), 'CEST')\nassert datetime(2024, 6, 1, tzinfo=tz).astimezone(timezone.utc).hour == 22",
}
