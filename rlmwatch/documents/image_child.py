"""
The process that scales one image: it loads its library, locks itself down, then decodes.

What comes out has at most `MAX_SIDE` pixels a side, stands upright, and holds pixels alone. Descriptors: 0 the image to
its end, 1 one line of JSON and the bytes.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, NoReturn

from rlmwatch.sandbox.guest.lockdown import Policy, as_refused, lock
from rlmwatch.sandbox.guest.zygote import empty_folder

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 1568
"""Pixels: what Anthropic reads of a longer side at most; OpenAI and Google scale down further by themselves."""
MAX_PIXELS = 120_000_000
"""Of the image as it is stored: above the largest photo that phones take by themselves (108 megapixels)."""
MAX_PNG_BYTES = 1_500_000
"""A larger one (a photo as PNG) is sent as JPEG."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "HEIF")
QUALITY = 85
NICE = 10
_SHADES = 257
"""Of 16 bits, for each of 8."""
_WHITE = (255, 255, 255)


def main() -> NoReturn:
    """Lock down by the policy in the first argument, for the parent in the second, and scale the image on stdin."""
    _load()
    with suppress(OSError):  # a filter of the service may refuse it
        os.nice(NICE)
    try:
        lock(Policy(**json.loads(sys.argv[1])), parent=int(sys.argv[2]), empty_root=empty_folder())
    except Exception as error:  # noqa: BLE001 (the host is told, whatever it is)
        layer, reason, cure = as_refused(error)
        why = f"images are read in a locked-down process, which is refused here ({layer}: {reason}). {cure}"
        _reply({"problem": why})
    try:
        facts, data = scaled(_all())
    except MemoryError:
        _reply({"problem": "it takes too much memory"})
    except Exception as error:  # noqa: BLE001 (a broken image may raise anything)
        _reply({"problem": str(error)[:500] or type(error).__name__})
    _reply(facts, data)


def _load() -> None:
    """Load all that is needed: once locked down, nothing can be loaded any more."""
    from PIL import GifImagePlugin, ImageOps, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin

    _ = (GifImagePlugin, ImageOps, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin)
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def scaled(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """
    Return what *raw* is once it is scaled (`media_type`, `width`, `height`), and its bytes.

    Raises:
        ValueError: It is no image of these formats, or too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # judged below, by the same number
    try:
        image: Image.Image = Image.open(BytesIO(raw), formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        raise ValueError("it is no image that can be read: PNG, JPEG, WebP or GIF") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"it has {width:,} times {height:,} pixels, more than {MAX_PIXELS // 1_000_000} million")
    lossless = image.format in ("PNG", "GIF")
    image.draft("RGB", (2 * MAX_SIDE, 2 * MAX_SIDE))  # a JPEG is decoded smaller where that will do
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 65,536 shades of grey, which `convert` would cut at 255
        if "transparency" in image.info:
            image.info["transparency"] //= _SHADES
        image = image.point(lambda shade: shade * (1 / _SHADES) + 0.5).convert("L")
    transparent = image.has_transparency_data
    image = image.convert("RGBA" if transparent else "RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    image.info.clear()  # comments and colour profiles would be written along
    out = BytesIO()
    if lossless or transparent:
        image.save(out, "PNG", optimize=True)
    if not out.tell() or out.tell() > MAX_PNG_BYTES:
        out = BytesIO()
        _opaque(image).save(out, "JPEG", quality=QUALITY)
        media_type = "image/jpeg"
    else:
        media_type = "image/png"
    return {"media_type": media_type, "width": image.width, "height": image.height}, out.getvalue()


def _opaque(image: Image) -> Image:
    """Return *image* on white."""
    from PIL import Image as Images

    if image.mode != "RGBA":
        return image
    white = Images.new("RGB", image.size, _WHITE)
    white.paste(image, mask=image.getchannel("A"))
    return white


def _all() -> bytes:
    data = bytearray()
    while piece := os.read(0, 1 << 20):
        data += piece
    return bytes(data)


def _reply(head: dict[str, Any], data: bytes = b"") -> NoReturn:
    view = memoryview(json.dumps(head).encode() + b"\n" + data)
    while view:
        view = view[os.write(1, view) :]
    os._exit(0)
