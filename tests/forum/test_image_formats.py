"""Images are known by their whole structure: real ones of every kind hold, and nothing that only begins like one."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aar.forum.image_formats import ImageInfo, InvalidImage, inspect_image, media_type_of


def drawn(kind: str, size: tuple[int, int] = (31, 17), frames: int = 1, **options: Any) -> bytes:
    """An image as Pillow writes it; each frame of its own colour."""
    pictures = [Image.new("RGB", size, (40 * index, 255 - 40 * index, 7)) for index in range(frames)]
    if frames > 1:
        options |= {"save_all": True, "append_images": pictures[1:], "duration": 50}
    out = io.BytesIO()
    pictures[0].save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int) -> bytes:
    """A well-formed PNG file that claims a size and holds one byte of picture."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


REAL = [
    ("PNG", {}, 1, "image/png"),
    ("PNG", {"optimize": True, "dpi": (300, 300)}, 1, "image/png"),
    ("PNG", {}, 3, "image/png"),
    ("JPEG", {}, 1, "image/jpeg"),
    ("JPEG", {"progressive": True, "quality": 95}, 1, "image/jpeg"),
    ("JPEG", {"comment": b"\xff\xd9<script>"}, 1, "image/jpeg"),
    ("GIF", {}, 1, "image/gif"),
    ("GIF", {"comment": b"a comment"}, 3, "image/gif"),
    ("WEBP", {}, 1, "image/webp"),
    ("WEBP", {"lossless": True}, 1, "image/webp"),
    ("WEBP", {}, 3, "image/webp"),
    ("WEBP", {"lossless": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}, 1, "image/webp"),
]


@pytest.mark.parametrize(("kind", "options", "frames", "media_type"), REAL)
def test_real_images_of_every_kind_hold(kind: str, options: dict[str, Any], frames: int, media_type: str) -> None:
    data = drawn(kind, frames=frames, **options)
    assert media_type_of(data) == media_type
    assert inspect_image(data) == ImageInfo(media_type, 31, 17, frames)


@pytest.mark.parametrize(("kind", "options", "frames", "media_type"), REAL)
def test_no_beginning_of_an_image_and_nothing_behind_it_holds(
    kind: str, options: dict[str, Any], frames: int, media_type: str
) -> None:
    data = drawn(kind, frames=frames, **options)
    for length in range(len(data)):
        with pytest.raises(InvalidImage):
            inspect_image(data[:length])
    for more in (b"\0", b"<script>alert(1)</script>", b"PK\x03\x04", b"\xff\xd9", b";"):
        with pytest.raises(InvalidImage):
            inspect_image(data + more)
        with pytest.raises(InvalidImage):
            inspect_image(more + data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<?xml version='1.0'?><svg/>",
        b"\x1f\x8b\x08<svg/>",
        b"<!doctype html><script>alert(1)</script>",
        b"\x89PNG\r\n\x1a\n<!doctype html><script>alert(1)</script>",
        b"GIF89a/*" + bytes(10) + b"*/=1;alert(1)//",
        b"\xff\xd8\xff\xe0<script>alert(1)</script>",
        b"RIFF\x20\0\0\0WEBP<script>alert(1)</script>....",
        b"%PDF-1.7\n",
        b"BM" + bytes(60),
        b"\0\0\0\x1cftypavif" + bytes(40),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""),
        png_of(0, 5),
        png_of(5, 5).replace(b"IDAT", b"IDAX"),
        drawn("JPEG")[:-2] + drawn("JPEG")[2:],
    ],
)
def test_what_only_begins_like_an_image_is_none(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        inspect_image(data)


def test_a_picture_larger_than_its_image_is_none() -> None:
    gif = bytearray(drawn("GIF"))
    gif[6:8] = struct.pack("<H", 3)
    webp = bytearray(drawn("WEBP", frames=2))
    webp[24:27] = (2).to_bytes(3, "little")
    for data in (gif, webp):
        with pytest.raises(InvalidImage, match="larger than itself"):
            inspect_image(bytes(data))


def test_a_small_file_cannot_make_a_browser_draw_a_picture_thousands_of_times() -> None:
    whole = drawn("JPEG", progressive=True)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    assert inspect_image(whole[:-2] + scan * 20 + whole[-2:]).frames == 1
    with pytest.raises(InvalidImage, match="more than 100 scans"):
        inspect_image(whole[:-2] + scan * 100 + whole[-2:])


def test_a_huge_claim_is_read_and_nothing_is_unpacked() -> None:
    assert inspect_image(png_of(2**31 - 1, 2**31 - 1)).pixels == (2**31 - 1) ** 2


@given(st.binary(max_size=300), st.sampled_from([drawn("PNG"), drawn("JPEG"), drawn("GIF"), drawn("WEBP")]), st.data())
def test_any_bytes_are_either_an_image_or_told_to_be_none(noise: bytes, image: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(image)))
    for tried in (noise, image[:12] + noise, image[:place] + noise + image[place + len(noise) :]):
        try:
            facts = inspect_image(tried)
        except InvalidImage:
            continue
        assert facts.pixels > 0
