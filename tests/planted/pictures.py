"""JPEG and PNG files that name their patient in whatever a picture can say beside its pixels."""

import zlib

from PIL import Image

from planted.words import CYRILLIC, number, word

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_XMP = "http://ns.adobe.com/xap/1.0/"


def plant_jpeg(file: bytes) -> bytes:
    """Add Exif, XMP, IPTC, a comment and bytes behind the end to a JPEG file.

    Source: ITU-T T.81 B.2.4.5 and B.2.4.6 (COM, APPn).
    """
    assert file.startswith(_SOI)
    segments = [
        (0xE1, b"Exif\0\0" + _exif()),
        (0xE1, _XMP.encode() + b"\0" + _xmp().encode()),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0e\x1c\x02\x78\0\x09" + word("IPTC").encode()),
        (0xFE, f"{word('JPEG comment')} {CYRILLIC}".encode()),
        (0xFE, word("JPEG comment in UTF-16").encode("utf-16")),
    ]
    told = b"".join(bytes((0xFF, kind)) + (len(body) + 2).to_bytes(2) + body for kind, body in segments)
    return _SOI + told + file[2:] + word("behind the JPEG").encode()


def plant_png(file: bytes) -> bytes:
    """Add texts, plain, compressed and international, Exif and bytes behind the end to a PNG file.

    Source: PNG specification (W3C) 11.3.3 and 11.3.4.
    """
    assert file.startswith(_PNG)
    header = len(_PNG) + 25  # IHDR, which comes first
    chunks = [
        (b"tEXt", b"Author\0" + word("PNG text").encode("latin-1")),
        (b"zTXt", b"Comment\0\0" + zlib.compress(word("PNG compressed text").encode() * 9)),
        (b"iTXt", b"Title\0\0\0\0\0" + f"{word('PNG international text')} {CYRILLIC}".encode()),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(_xmp().encode())),
        (b"eXIf", _exif()),
    ]
    told = b"".join(_chunk(kind, body) for kind, body in chunks)
    return file[:header] + told + file[header:] + word("behind the PNG").encode()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = word("ImageDescription")
    exif[0x013B] = word("Artist")
    exif[0x8298] = word("Copyright")
    exif[0x9C9B] = word("XPTitle").encode("utf-16-le")
    exif[0x9C9D] = word("XPAuthor").encode("utf-16-le")
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + word("UserComment").encode()
    exif.get_ifd(0x8769)[0xA431] = number("BodySerialNumber")
    written: bytes = exif.tobytes()
    return written.removeprefix(b"Exif\0\0")


def _xmp() -> str:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:creator>{word("XMP")} {CYRILLIC}</dc:creator></x:xmpmeta>'
