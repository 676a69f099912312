"""The search for planted words finds each of them in every form and container, and nothing where there is nothing."""

import base64
import bz2
import gzip
import io
import json
import lzma
import sqlite3
import tarfile
import urllib.parse
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from planted.search import texts_of, traces, traces_in_file
from planted.words import BIRTH_DATE, STEMS, number, uid, word

NOISE = np.random.default_rng(0).bytes(1000)

ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "lower case": lambda text: text.lower().encode(),
    "upper case": lambda text: text.upper().encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big-endian": lambda text: text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "UTF-32, big-endian": lambda text: text.encode("utf-32-be"),
    "mistaken for Latin-1": lambda text: text.encode().decode("latin-1").encode(),
    "DICOM's Cyrillic": lambda text: text.encode("iso8859_5"),
    "Windows' Cyrillic": lambda text: text.encode("cp1251"),
    "JSON": lambda text: json.dumps(text).encode(),
    "Python": lambda text: ascii(text).encode(),
    "Python's bytes": lambda text: repr(text.encode()).encode(),
    "URL": lambda text: urllib.parse.quote(text).encode(),
    "URL in lower case": lambda text: urllib.parse.quote(text).lower().encode(),
    "HTML": lambda text: text.encode("ascii", "xmlcharrefreplace"),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "hexadecimal in capitals": lambda text: text.encode().hex().upper().encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 behind one byte": lambda text: base64.b64encode(NOISE[:1] + text.encode()),
    "base64 behind two bytes": lambda text: base64.b64encode(NOISE[:2] + text.encode()),
    "base64 of UTF-16": lambda text: base64.b64encode(b"." + text.encode("utf-16-le")),
    "base64 in lines": lambda text: base64.encodebytes(NOISE[:120] + text.encode()),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(NOISE[:7] + text.encode()),
}


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", content)
    return buffer.getvalue()


def tarred(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("member")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def arrayed(content: bytes) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, texts=np.array(["", content.decode()]))
    return buffer.getvalue()


def parquet(content: bytes) -> bytes:
    table = pd.DataFrame({"text": ["a", content.decode()] * 50, "bytes": [b"b", content] * 50})
    return bytes(table.to_parquet(compression="zstd"))


def parquet_names(content: bytes) -> bytes:
    return bytes(pd.DataFrame({content.decode(): [1]}).to_parquet())


def png(content: bytes, *, compressed: bool, international: bool) -> bytes:
    told, buffer = PngInfo(), io.BytesIO()
    if international:
        told.add_itxt("Comment", content.decode() * 3, zip=compressed)
    else:
        told.add_text("Comment", content.decode() * 3, zip=compressed)
    Image.new("L", (9, 9)).save(buffer, "PNG", pnginfo=told)
    return buffer.getvalue()


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "zip": zipped,
    "zip in a zip": lambda content: zipped(zipped(content)),
    "tar": tarred,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "NumPy": arrayed,
    "parquet": parquet,
    "a column's name": parquet_names,
    "PNG, text": lambda content: png(content, compressed=False, international=False),
    "PNG, compressed text": lambda content: png(content, compressed=True, international=False),
    "PNG, international text": lambda content: png(content, compressed=False, international=True),
    "PNG, compressed international text": lambda content: png(content, compressed=True, international=True),
    "a page's picture": lambda content: (
        b'<img src="data:image/png;base64,'
        + base64.b64encode(png(content, compressed=True, international=True))
        + b'">'
    ),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("stem", STEMS)
def test_a_word_is_found_in_every_encoding(stem: str, encode: Callable[[str], bytes]) -> None:
    assert traces(NOISE + encode(f"Anna {stem}xy, Berlin") + NOISE)


@pytest.mark.parametrize("pack", CONTAINERS.values(), ids=CONTAINERS)
def test_a_word_is_found_in_every_container(pack: Callable[[bytes], bytes]) -> None:
    assert traces(pack(b"name " * 200 + word("container").encode()))


def test_a_word_is_found_in_files(tmp_path: Path) -> None:
    (tmp_path / f"{word('name')}.txt").touch()
    (tmp_path / "link").symlink_to(word("target"))
    with closing(sqlite3.connect(tmp_path / "tracking.db")) as database:
        database.execute("CREATE TABLE runs (name BLOB)")
        database.execute("INSERT INTO runs VALUES (?)", (word("row"),))
        database.commit()
    layer = keras.layers.Dense(1, name=word("layer"))
    keras.Sequential([keras.Input((1,)), layer]).save(tmp_path / "model.keras")
    (tmp_path / "nothing").write_bytes(NOISE)
    assert {path.name for path in tmp_path.iterdir() if traces_in_file(path)} == {
        *(f"{word('name')}.txt", "link", "tracking.db", "model.keras")
    }


def test_a_word_that_is_drawn_is_found_in_the_figure() -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], label=word("legend"))
    axes.legend()
    axes.set_title(word("title"))
    figure.suptitle(word("heading"))
    axes.set_xticks([0.5], [word("tick")])
    found = texts_of(figure)
    assert all(word(place) in found for place in ("legend", "title", "heading", "tick"))


@pytest.mark.parametrize("day", [BIRTH_DATE, "1876-02-13", "1876.02.13", f"born {BIRTH_DATE}."])
def test_a_birth_date_is_found(day: str) -> None:
    assert traces(f"PatientBirthDate {day}".encode())


@pytest.mark.parametrize("other", [f"0.{BIRTH_DATE}1", f"3{BIRTH_DATE}", "1876-02-1", "Qvyxzu", "8760213", "Щяжюк"])
def test_nothing_is_found_where_there_is_nothing(other: str) -> None:
    assert traces(NOISE + other.encode() + NOISE) == []


def test_places_have_words_of_their_own_that_fit() -> None:
    places = [f"place {number}" for number in range(100)]
    for name in (word, number, uid):
        assert len({name(place) for place in places}) == len(places)
    assert max(len(word(place)) for place in places) <= 16  # DICOM PS3.5 6.2: AE, CS and SH
    assert max(len(uid(place)) for place in places) <= 64
