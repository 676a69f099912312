"""A search for stems in whatever form they may hide: encoded, compressed, in tables, in pictures, drawn in a figure."""

import base64
import bz2
import gzip
import html
import io
import json
import lzma
import re
import sqlite3
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from matplotlib.text import Text

from planted.words import BIRTH_DATE, STEMS

_SINGLE_BYTE = ("latin-1", "cp1252", "iso8859_5", "cp1251", "koi8_r")  # DICOM's ISO_IR 100 and 144 among them
_WIDE = ("utf-16-le", "utf-32-le")
# Eight digits may be part of any number, so those of a day must stand alone.
_DAY = re.compile(f"(?<![0-9.]){BIRTH_DATE[:4]}[-./]?{BIRTH_DATE[4:6]}[-./]?{BIRTH_DATE[6:]}(?![0-9])".encode())
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_-]{32,}={0,2}")
_PNG = b"\x89PNG\r\n\x1a\n"
_DEEPEST = 6  # containers in containers
_SEEN = 24  # bytes told around what was found


def traces(content: bytes, stems: Iterable[str] = STEMS) -> list[str]:
    """Where stems are in some bytes: `FORM of STEM: ...what stands around it...`, a line each."""
    return sorted(set(_traces(content, tuple(stems), _DEEPEST)))


def traces_in_file(path: Path, stems: Iterable[str] = STEMS) -> list[str]:
    """The same for a file: its name, where a link leads, and its content."""
    found = traces(str(path.name).encode("utf-8", "surrogateescape"), stems)
    if path.is_symlink():
        return found + traces(bytes(path.readlink()), stems)
    if not path.is_file():
        return found
    tables = _database(path) if path.read_bytes()[:16] == b"SQLite format 3\0" else ()
    return sorted(
        {*found, *traces(path.read_bytes(), stems), *(line for text in tables for line in traces(text, stems))}
    )


def texts_of(figure: Figure) -> str:
    """Everything that is written in a figure, which its picture tells in pixels alone."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@cache
def forms(stem: str) -> tuple[tuple[str, bytes, bool], ...]:
    """Name and bytes of every form of a stem, and whether the case of ASCII letters counts in it."""
    exact = {"".join(case) for case in (stem, stem.lower(), stem.upper(), stem.title())}
    named = {(form, by_case): name for spelt in sorted(exact) for name, form, by_case in reversed([*_forms(spelt)])}
    return tuple((name, form, by_case) for (form, by_case), name in named.items())


def _forms(text: str) -> Iterator[tuple[str, bytes, bool]]:
    utf8 = text.encode()
    plain = {"utf-8": utf8, "latin-1 read as utf-8": utf8.decode("latin-1").encode()}
    for encoding in _SINGLE_BYTE:
        with suppress(UnicodeEncodeError):
            plain[encoding] = text.encode(encoding)
    for encoding in _WIDE:  # without the last zeros, so that either byte order is found
        plain[encoding] = text.encode(encoding).rstrip(b"\0") if text.isascii() else text.encode(encoding)
        plain[encoding[:-3] + " big-endian"] = text.encode(encoding.replace("-le", "-be"))
    plain |= {
        "JSON": json.dumps(text).strip('"').encode(),
        "Python": text.encode("unicode_escape"),
        "bytes in Python": repr(utf8)[2:-1].encode(),
        "URL": urllib.parse.quote(text).encode(),
        "URL, every byte": "".join(f"%{byte:02x}" for byte in utf8).encode(),
        "HTML": html.escape(text).encode("ascii", "xmlcharrefreplace"),
        "RFC 2047": "".join(f"={byte:02x}" for byte in utf8).encode(),
    }
    for name, data in plain.items():
        yield name, data.lower(), False
    for encoding in ("utf-8", *_SINGLE_BYTE, *_WIDE):
        with suppress(UnicodeEncodeError):
            data = text.encode(encoding)
            yield f"hexadecimal {encoding}", data.hex().encode(), False
            for shift in range(3):
                yield f"base64 of {encoding}, shifted by {shift}", _base64_core(data, shift), True


def _base64_core(data: bytes, shift: int) -> bytes:
    """The characters that depend on these bytes alone, which stand `shift` bytes behind a multiple of three."""
    code = base64.b64encode(bytes(shift) + data)
    first = -(-8 * shift // 6)
    return code[first : 8 * (shift + len(data)) // 6]


def _traces(content: bytes, stems: tuple[str, ...], deeper: int) -> Iterator[str]:
    lower = content.lower()
    if day := _DAY.search(content):
        yield f"a birth date: ...{content[max(0, day.start() - _SEEN) : day.end() + _SEEN]!r}..."
    for stem in stems:
        for name, form, by_case in forms(stem):
            place = (content if by_case else lower).find(form)
            if place >= 0:
                around = content[max(0, place - _SEEN) : place + len(form) + _SEEN]
                yield f"{name} of {stem}: ...{around!r}..."
    if deeper:
        for kind, inside in _opened(content):
            yield from (f"{kind}, {line}" for line in _traces(inside, stems, deeper - 1))


def _opened(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Everything that lies compressed or encoded within some bytes."""
    for magic, (kind, opener) in _CONTAINERS.items():
        if content.startswith(magic):
            with suppress(Exception):  # it only looks like one: then it has been searched as it is
                yield from ((kind, inside) for inside in opener(content))
    if len(content) > 265 and content[257:262] == b"ustar":
        yield from (("tar", inside) for inside in _untarred(content))
    for run in _BASE64_RUN.finditer(content):
        with suppress(ValueError):
            code = run[0].rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
            yield "base64", base64.b64decode(code + b"=" * (-len(code) % 4))


def _unzipped(content: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        yield archive.comment
        for member in archive.infolist():
            yield member.filename.encode() + b"\n" + member.comment + b"\n" + member.extra
            yield archive.read(member)


def _untarred(content: bytes) -> Iterator[bytes]:
    with suppress(tarfile.TarError), tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            inside = archive.extractfile(member)
            if inside is not None:
                yield inside.read()


def _rows_of_parquet(content: bytes) -> Iterator[bytes]:
    table = pq.read_table(io.BytesIO(content))
    yield repr(table.schema).encode()
    frame = table.to_pandas()
    for column in frame:
        values = frame[column].dropna()
        is_bytes = values.map(lambda value: isinstance(value, bytes))
        yield b"\n".join(values[is_bytes])
        yield "\n".join(values[~is_bytes].map(str)).encode("utf-8", "surrogateescape")


def _chunks_of_png(content: bytes) -> Iterator[bytes]:
    """Source: PNG specification 11.3.3 (tEXt, zTXt, iTXt), 11.3.2.3 (iCCP)."""
    place = len(_PNG)
    while place + 12 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        body = content[place + 8 : place + 8 + length]
        place += 12 + length
        for start in range(len(body) - 1) if kind in (b"zTXt", b"iTXt", b"iCCP") else ():
            if body[start] == 0x78:  # how zlib's streams begin (RFC 1950)
                with suppress(zlib.error):
                    yield zlib.decompressobj().decompress(body[start:])


def _database(path: Path) -> Iterator[bytes]:
    """Every table of an SQLite database as text."""
    with closing(sqlite3.connect(f"file:{urllib.parse.quote(str(path))}?mode=ro", uri=True)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            yield pd.read_sql_query(f'SELECT * FROM "{name}"', database).to_csv().encode("utf-8", "surrogateescape")


_CONTAINERS: dict[bytes, tuple[str, Callable[[bytes], Iterable[bytes]]]] = {
    b"PK": ("zip", _unzipped),
    b"\x1f\x8b": ("gzip", lambda content: [gzip.decompress(content)]),
    b"BZh": ("bzip2", lambda content: [bz2.decompress(content)]),
    b"\xfd7zXZ": ("xz", lambda content: [lzma.decompress(content)]),
    b"\x78": ("zlib", lambda content: [zlib.decompress(content)]),
    b"PAR1": ("parquet", _rows_of_parquet),
    _PNG: ("PNG", _chunks_of_png),
}
