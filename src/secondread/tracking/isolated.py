"""Run as a script, by path, in a process of its own: load a logged model and answer what it is asked, line by line.

It imports nothing of this project, so that the model runs the code it was logged with.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

_MOST_BYTES = 1 << 26  # of files that are held at once; one larger file is held alone
_GONE = {"status": "rejected", "rule": "unreadable", "reason": "the file cannot be opened"}


def main(model: str, replies: str) -> None:
    """Reply to requests on the standard input until it ends, one JSON text a line each way.

    A request holds `params`, and either `files`, paths to answer in order, or `image`, the base64 text of one to answer
    `images` times. Its reply is `answers`, `seconds`, or `error`, what the model's user can mend. The first reply,
    unasked, is `load_s`.

    Args:
        model: folder of a logged model.
        replies: number of the file descriptor to reply on; what the model prints stays out of it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is for the process that asks; when that ends, so does this
    start = time.perf_counter()
    served = mlflow.pyfunc.load_model(model)
    loaded = {"load_s": time.perf_counter() - start}
    with contextlib.suppress(BrokenPipeError), os.fdopen(int(replies), "w") as out:  # broken: nobody asks any more
        for reply in _replies(served, loaded):
            out.write(json.dumps(reply) + "\n")
            out.flush()


def _replies(served: Any, loaded: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield loaded
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            yield {"answers": _files(served, asked)} if "files" in asked else {"seconds": _timed(served, asked)}
        except Exception as error:
            kinds = {kind.__module__ for kind in type(error).__mro__}
            if "secondread.errors" not in kinds:  # of the logged code: what its user can mend
                raise
            yield {"error": str(error)}


def _files(served: Any, asked: dict[str, Any]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    for files in _batches(asked["files"]):
        read = [file for file in files if file is not None]
        given = iter(served.predict(pd.DataFrame({"image": read}), params=asked["params"]) if read else ())
        answers += [_GONE if file is None else next(given) for file in files]
    return answers


def _batches(files: list[str]) -> Iterator[list[bytes | None]]:
    """Contents of files, None for one that cannot be read, so few at once that memory stays flat."""
    batch: list[bytes | None] = []
    held = 0
    for file in files:
        try:
            content = Path(file).read_bytes()
        except OSError:
            batch.append(None)
            continue
        if held and held + len(content) > _MOST_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(content)
        held += len(content)
    yield batch


def _timed(served: Any, asked: dict[str, Any]) -> list[float]:
    """Seconds that every answer took, one image a request; the first, which warms up, is not among them."""
    image = pd.DataFrame({"image": [asked["image"]]})
    first = served.predict(image, params=asked["params"])[0]
    if first["status"] == "rejected":  # one out of scope has gone the whole way: what was found is only not told
        raise SystemExit(f"an image to be timed with was {first['status']}: {first['reason']}")
    seconds = []
    for _ in range(asked["images"]):
        start = time.perf_counter()
        served.predict(image, params=asked["params"])
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main(*sys.argv[1:])
