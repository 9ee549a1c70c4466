"""Images are decoded by a process that is locked down, and leave it as pixels: hostile ones cost themselves alone."""

from __future__ import annotations

import asyncio
import io
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from rlmwatch.daemon.factories import build_images
from rlmwatch.documents.images import ImageReader
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import InputError
from rlmwatch.runs.attached import Image
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.settings.sources import load

PIL = pytest.importorskip("PIL.Image")
READER = ImageReader(Policy(landlock="try"))


def scaled(name: str, raw: bytes, reader: ImageReader = READER) -> Image:
    return asyncio.run(reader.scaled(name, raw))


def saved(kind: str, size: tuple[int, int] = (40, 20), mode: str = "RGB", **more: object) -> bytes:
    out = io.BytesIO()
    PIL.new(mode, size, 1 if mode == "P" else None).save(out, kind, **more)
    return out.getvalue()


def png(
    width: int, height: int, data: bytes, *, depth: int = 8, colour: int = 6, transparent: bytes | None = None
) -> bytes:
    """Return a PNG of *width* times *height* pixels, whatever its *data* holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    head += b"" if transparent is None else chunk(b"tRNS", transparent)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def exif() -> bytes:
    """Return what a phone writes into a photo: where it was taken, and that it lies on its side."""
    made = PIL.Exif()
    made[0x0112] = 6
    made[0x010E] = "taken at home"
    made.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return made.tobytes()


@pytest.mark.parametrize(
    ("name", "raw", "media_type", "size"),
    [
        ("a.jpg", saved("JPEG", (3000, 1000), exif=exif(), comment=b"taken at home"), "image/jpeg", (523, 1568)),
        ("a.png", saved("PNG", exif=exif()), "image/png", (20, 40)),
        ("a.webp", saved("WEBP", exif=exif()), "image/jpeg", (20, 40)),
        ("a.gif", saved("GIF", mode="P", comment=b"taken at home"), "image/png", (40, 20)),
        ("b.png", saved("PNG", mode="RGBA"), "image/png", (40, 20)),
        ("is_a_png.jpg", saved("PNG"), "image/png", (40, 20)),
    ],
)
def test_what_is_sent_is_small_upright_and_says_nothing_of_where_it_was_taken(name, raw, media_type, size):
    """Place, comment and camera go, the photo is turned as it was held, and its longer side is 1,568 at most."""
    image = scaled(name, raw)
    assert (image.media_type, image.width, image.height) == (media_type, *size)
    with PIL.open(io.BytesIO(image.data)) as found:
        assert found.size == size
        assert not found.getexif()
        assert not {"comment", "exif", "icc_profile"} & found.info.keys()
    assert b"taken at home" not in image.data


@pytest.mark.parametrize(
    ("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["grey", "rgb", "grey+a", "rgb+a"]
)
def test_a_picture_of_16_bits_keeps_its_shades(colour, samples):
    """What a scanner or a microscope writes with 65,536 shades is sent with the 256 that stand for them."""
    shades = [10, 100, 200, 255]
    row = b"\0" + b"".join(struct.pack(">H", shade * 257) * samples for shade in shades)
    image = scaled("a.png", png(4, 1, row, depth=16, colour=colour))
    with PIL.open(io.BytesIO(image.data)) as found:
        assert [found.convert("L").getpixel((x, 0)) for x in range(4)] == shades


def test_what_is_transparent_in_a_picture_of_16_bits_stays_so():
    """One shade of grey may be named as transparent."""
    row = b"\0" + struct.pack(">HH", 100 * 257, 0xFFFF)
    image = scaled("a.png", png(2, 1, row, depth=16, colour=0, transparent=b"\xff\xff"))
    with PIL.open(io.BytesIO(image.data)) as found:
        assert [found.getpixel((x, 0)) for x in range(2)] == [(100, 100, 100, 255), (255, 255, 255, 0)]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (png(60_000, 60_000, b""), "more than 120 million"),
        (png(100, 100, b""), "cannot be read"),
        (b"", "no image"),
        (b"GIF89a", "cannot be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no image"),
        (saved("TIFF"), "no image"),
    ],
    ids=["bomb", "cut", "empty", "half", "svg", "eps", "tiff"],
)
def test_a_hostile_image_is_an_error_in_words(raw, words):
    """More pixels than any photo has, half a file, and formats that run programs are refused by what they are."""
    with pytest.raises(InputError, match=words):
        scaled("photo.jpg", raw)


def test_an_image_that_takes_all_memory_ends_its_process_alone():
    """The process has a limit of memory; what passes it is an error that names the file."""
    rows = bytes(40_001) * 10_000
    with pytest.raises(InputError, match=r"photo\.png cannot be read"):
        scaled(
            "photo.png",
            png(10_000, 10_000, rows),
            replace(READER, policy=replace(READER.policy, memory_bytes=200 << 20)),
        )


class Counted(asyncio.Semaphore):
    """Counts who holds it."""

    holders = most = 0

    async def acquire(self) -> bool:
        await super().acquire()
        self.holders += 1
        self.most = max(self.most, self.holders)
        return True

    def release(self) -> None:
        self.holders -= 1
        super().release()


def test_images_and_documents_of_all_runs_are_read_a_few_at_once():
    """Many images at a time would take the memory of many processes: they wait, with the documents, for one another."""
    slots = Counted(2)
    documents = DocumentReader(READER.policy, slots=slots)
    images = build_images(load(user_dir=Path("/nonexistent"), workspace=None, environ={}), documents)
    images = replace(READER, slots=images.slots)

    async def all_at_once() -> list[object]:
        pages = [documents.texts({"a.html": b"<p>x"}) for _ in range(2)]
        return await asyncio.gather(*(images.scaled("a.png", saved("PNG")) for _ in range(4)), *pages)

    assert len(asyncio.run(all_at_once())) == 6
    assert (slots.most, slots.holders) == (2, 0)


def test_an_image_that_takes_too_long_is_given_up():
    """After its time limit the process is ended, and the file is named."""
    with pytest.raises(InputError, match=r"photo\.jpg cannot be read: it takes longer"):
        scaled("photo.jpg", saved("JPEG"), replace(READER, max_seconds=0.01))


UNDER_A_FILTER = """
import asyncio, ctypes, os, struct, sys
from rlmwatch.documents.images import ImageReader
from rlmwatch.sandbox.guest import seccomp
from rlmwatch.sandbox.guest.kernel import prctl
from rlmwatch.sandbox.guest.lockdown import Policy

setpriority = {"x86_64": 141, "aarch64": 140}[os.uname().machine]
code = seccomp.assemble([(0x20, 0, 0, 0), (0x15, 0, 1, setpriority), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)])
array = ctypes.create_string_buffer(code, len(code))
header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(array)))
prctl("test", 38, 1)
prctl("test", 22, 2, ctypes.addressof(header))
try:
    os.nice(1)
except PermissionError:
    print(asyncio.run(ImageReader(Policy(landlock="try")).scaled("a.png", sys.stdin.buffer.read())).media_type)
"""


def test_an_image_is_read_where_a_service_may_not_change_priorities():
    """The shipped units refuse `@resources` to all that they start: an image is scaled all the same."""
    done = subprocess.run([sys.executable, "-c", UNDER_A_FILTER], input=saved("PNG"), capture_output=True, check=False)
    assert done.stdout.decode() == "image/png\n", done.stderr.decode()
