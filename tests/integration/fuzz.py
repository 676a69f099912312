"""What strangers may send to a gateway: bodies, images, and words that are hardly HTTP; a patient's name is in each."""

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread

from integration.gateway import MARK
from integration.tiny_champion import picture
from secondread.data.phantom.write import phantom_image
from secondread.imaging.dicom.leniency import leniently
from secondread.tasks import load_task

# --- bodies

TEXTS = st.text(max_size=20) | st.sampled_from([MARK, "image", "A" * 5000, "\\u0000", "\ud800", "\u202e", "🩻"])
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**30), 1e308])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
GOOD = base64.b64encode(picture(32)).decode()
FILES = st.sampled_from([GOOD, GOOD[:-3], GOOD + "=", f"{GOOD}\n", MARK, "", "QUJD"])
ROWS = st.lists(FILES | JSON, max_size=3)
PARAMS = st.dictionaries(
    st.sampled_from(["operating_point", "explain", "label", MARK]), JSON | st.just("balanced"), max_size=2
)
COLUMNS = st.just(["image"]) | st.lists(TEXTS, max_size=2)


def tabled(rows: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[dict[str, object]]:
    """Rows in each of MLflow's four forms."""
    records = rows.map(lambda images: [{"image": image} for image in images])
    split = st.builds(lambda names, images: {"columns": names, "data": [[image] for image in images]}, COLUMNS, rows)
    forms = {
        "dataframe_records": records,
        "instances": records,
        "inputs": rows.map(lambda images: {"image": images}) | records | rows,
        "dataframe_split": split,
    }
    return st.one_of(
        *(st.fixed_dictionaries({name: form}, optional={"params": PARAMS}) for name, form in forms.items())
    )


def deep(depth: int, opening: str) -> bytes:
    """A body that is nested deeply, and closed or not."""
    return opening.encode() * depth


def edited(data: bytes, edits: list[tuple[float, int]], kept: float) -> bytes:
    """The first part of some bytes, some of them changed."""
    changed = bytearray(data)
    for place, value in edits if data else ():
        changed[int(place * len(data))] = value
    return bytes(changed[: round(kept * len(data))])


def encoded(value: object, encoding: str) -> bytes:
    """JSON with its letters as they are."""
    return json.dumps(value, ensure_ascii=False).encode(encoding, "replace")


PLACES = st.floats(0, 1, exclude_max=True)
EDITS = st.lists(st.tuples(PLACES, st.integers(0, 255)), max_size=4)
KEPT = st.just(1.0) | PLACES
WRITTEN = tabled(ROWS).map(lambda value: json.dumps(value).encode())
BODIES = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(["dataframe_records", "inputs", "params"]), JSON, max_size=3).map(
        lambda value: json.dumps(value).encode()
    ),
    WRITTEN,
    st.builds(edited, WRITTEN, EDITS, KEPT),
    st.builds(encoded, JSON, st.sampled_from(["utf-8", "utf-16", "latin-1"])),
    st.builds(deep, st.sampled_from([900, 5000, 100_000]), st.sampled_from(["[", '{"a":', '{"inputs":['])),
)

# --- images


def saved(kind: str, **how: object) -> bytes:
    """A picture of noise in a file format."""
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (96, 80), np.uint8)
    Image.fromarray(noise).save(out, kind, **how)
    return out.getvalue()


def named(task: str) -> bytes:
    """A phantom of a patient with a name."""
    with leniently():
        dcm = dcmread(io.BytesIO(phantom_image(load_task(task), seed=0)))
        dcm.PatientName = dcm.PatientID = dcm.BodyPartExamined = dcm.ImageComments = MARK
        out = io.BytesIO()
        dcm.save_as(out)
        return out.getvalue()


CORPUS = {
    "png": picture(32),
    "png of 16 bits": bytes(cv2.imencode(".png", np.arange(96 * 80, dtype=np.uint16).reshape(96, 80))[1]),
    "jpeg": saved("JPEG"),
    "progressive": saved("JPEG", progressive=True),
    "commented": saved("JPEG", comment=MARK.encode()),
    "gif": saved("GIF"),
    "dicom": named("hemorrhage"),
    "pdf": b"%PDF-1.4 " + MARK.encode(),
    "nothing": b"",
}


@dataclass(frozen=True)
class Damaged:
    """A file of the corpus, changed and cut; a failure names it instead of showing its bytes."""

    kind: str
    edits: list[tuple[float, int]]
    kept: float

    @property
    def data(self) -> bytes:
        """What is sent."""
        return edited(CORPUS[self.kind], self.edits, self.kept)


HEADERS = st.lists(st.tuples(st.floats(0, 0.02), st.integers(0, 255)), max_size=4)  # where files say what they hold
IMAGES = st.builds(Damaged, kind=st.sampled_from(sorted(CORPUS)), edits=EDITS | HEADERS, kept=KEPT)

# --- words


@dataclass(frozen=True)
class Raw:
    """A request that is hardly one.

    Args:
        framing: how the length of the body is told; never as longer than it is, which the gateway would wait for.
    """

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    has_token: bool
    framing: str
    body: bytes

    def written(self, token: str) -> bytes:
        """What goes over the wire."""
        lines = [f"{self.method} {self.target} {self.version}", *(f"{name}: {value}" for name, value in self.headers)]
        lines += [f"Authorization: Bearer {token}"] if self.has_token else []
        chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.body), self.body)
        framed: dict[str, tuple[list[str], bytes]] = {
            "none": ([], b""),
            "length": ([f"Content-Length: {len(self.body)}"], self.body),
            "short length": ([f"Content-Length: {len(self.body) // 2}"], self.body),
            "two lengths": ([f"Content-Length: {len(self.body)}", "Content-Length: 0"], self.body),
            "no length": ([f"Content-Length: {MARK}"], self.body),
            "negative": (["Content-Length: -1"], self.body),
            "huge": (["Content-Length: 99999999999999999999999"], self.body),
            "chunked": (["Transfer-Encoding: chunked"], chunk),
            "chunked and length": (["Transfer-Encoding: chunked", "Content-Length: 3"], chunk),
            "no chunk": (["Transfer-Encoding: chunked"], b"xyz\r\n" + self.body),
            "huge chunk": (["Transfer-Encoding: chunked"], b"f" * 20 + b"\r\n" + self.body),
            "unknown": (["Transfer-Encoding: gzip, chunked"], chunk),
        }
        said, sent = framed[self.framing]
        head = "\r\n".join([*lines, *said, "Connection: close", "", ""])
        return head.encode("utf-8", "replace") + sent


FRAMINGS = ["none", "length", "short length", "two lengths", "no length", "negative", "huge"]
FRAMINGS += ["chunked", "chunked and length", "no chunk", "huge chunk", "unknown"]
METHODS = ["GET", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", MARK, ""]
ROUTE = "/pneumonia/invocations"
TARGETS = [
    ROUTE,
    ROUTE,
    f"{ROUTE}?{MARK}=1",
    f"{ROUTE}/{MARK}",
    "/",
    "/health",
    "/models",
    "/metrics",
    f"/{MARK}",
    "*",
    "",
]
TARGETS += [
    f"https://{MARK}/",
    "/error/busy",
    "//",
    "/..",
    "/%00",
    "/%zz",
    "/%2e%2e/token",
    "/" + "a" * 9000,
    f"/#{MARK}",
]
NAMES = [
    "Host",
    "Content-Type",
    "Content-Encoding",
    "Accept",
    "Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
]
NAMES += [
    "If-Unmodified-Since",
    "Expect",
    "Cookie",
    "Upgrade",
    "X-Error",
    "X-Accel-Redirect",
    "Authorization",
    MARK,
    "a b",
]
SAID = [
    "application/json",
    "text/csv",
    f"application/json; charset={MARK}",
    MARK,
    "*",
    "bytes=0-0",
    "bytes=999999-",
    "gzip",
]
SAID += ["100-continue", "Thu, 01 Jan 1970 00:00:00 GMT", "h2c", "localhost", "é", "a" * 9000, "", "/error/busy"]
RAW = st.builds(
    Raw,
    method=st.sampled_from(METHODS),
    target=st.sampled_from(TARGETS),
    version=st.sampled_from(["HTTP/1.1"] * 5 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", MARK, ""]),
    headers=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(SAID)), max_size=4).map(
        lambda given: [("Host", "localhost"), ("Content-Type", "application/json"), *given]
    )
    | st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(SAID)), max_size=4),
    has_token=st.booleans(),
    framing=st.sampled_from(FRAMINGS),
    body=WRITTEN | st.binary(max_size=50),
)
