"""Requests that name a patient in everything that a request has: images, columns, parameters, headers, addresses."""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple

from bad_files.sound import PICTURES, xray

from planted.dicom import broken, plant, plant_behind
from planted.pictures import plant_jpeg, plant_png
from planted.words import CYRILLIC, word

INVOCATIONS = "/invocations"


class Request(NamedTuple):
    """What a client sends; every one has headers that name somebody too."""

    body: bytes
    path: str = INVOCATIONS
    content_type: str = "application/json"
    method: str = "POST"

    @property
    def headers(self) -> dict[str, str]:
        """The type of the content, and what a careless client adds."""
        named = {name: word(name) for name in ("X-Patient", "User-Agent", "Referer", "Cookie")}
        return named | {"Content-Type": self.content_type}


def _asked(content: object, **more: object) -> Request:
    return Request(json.dumps({"dataframe_records": content} | more).encode())


def _code(file: bytes) -> str:
    return b64encode(file).decode()


_FILES = {
    "DICOM": plant_behind(plant(xray())),
    "JPEG": plant_jpeg(PICTURES["jpeg"]),
    "PNG": plant_png(PICTURES["png"]),
    **{f"DICOM, {what}": file for what, file in broken(xray()).items()},
    "text": f"{word('text of a file')} {CYRILLIC}".encode(),
}
_IMAGE = _code(_FILES["DICOM"])
_NAME = f"{word('word in a request')}, {CYRILLIC}"

# Whoever serves understands these: each image has its answer.
ANSWERED: Mapping[str, Request] = {
    "every file": _asked([{"image": _code(file)} for file in _FILES.values()]),
    "no base64": _asked([{"image": _NAME}]),
    "no text": _asked([{"image": {"name": _NAME}}, {"image": [_NAME]}]),
}
# MLflow's server ignores what it does not know of these, and answers.
ODD: Mapping[str, Request] = {
    "one more column": _asked([{"image": _IMAGE, word("unknown column"): _NAME}]),
    "an unknown parameter": _asked([{"image": _IMAGE}], params={word("unknown parameter"): _NAME}),
}
# These ask for nothing that there is, and for these MLflow's server finds words that repeat nothing of them.
REFUSED: Mapping[str, Request] = {
    "an unknown operating point": _asked([{"image": _IMAGE}], params={"operating_point": _NAME}),
    "an unknown label": _asked([{"image": _IMAGE}], params={"label": _NAME}),
    "another method": Request(b"{}", method="PATCH"),
    "no table": Request(json.dumps({word("key"): _NAME}).encode()),
    "a list": Request(json.dumps([_NAME]).encode()),
    "brackets": Request(b'{"inputs":' + b"[" * 3000 + f'"{word("nested")}"'.encode() + b"]" * 3000 + b"}"),
}
# These MLflow's server repeats to whoever sent them.
REPEATED: Mapping[str, Request] = {
    "no JSON": Request(f'{{"dataframe_records": [{{"image": "{_NAME}'.encode()),
    "another column": _asked([{word("column"): _IMAGE}]),
    "a parameter of another type": _asked([{"image": _IMAGE}], params={"explain": _NAME}),
    "inputs of text": Request(json.dumps({"inputs": _NAME}).encode()),
    "CSV": Request(f"{word('CSV column')}\n1,2\n{word('CSV cell')}\n".encode(), content_type="text/csv"),
    "another type": Request(_NAME.encode(), content_type=f"text/{word('content type')}"),
}
# Of these MLflow's server logs the address.
ADDRESSES: Mapping[str, Request] = {
    "a query": _asked([{"image": _IMAGE}])._replace(path=f"{INVOCATIONS}?patient={word('query')}"),
    "another address": Request(b"{}", path=f"/{word('address')}"),
}
