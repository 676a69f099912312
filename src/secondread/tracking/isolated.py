"""Run as a script, by path, in a process of its own: load a logged model and answer files, or time it.

It imports nothing of this project, so that the model runs the code it was logged with.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from tqdm import tqdm

_BATCH = 64


def main(model: str, request: str, reply: str) -> None:
    """Do what `request` asks and write one JSON object a line to `reply`.

    Args:
        model: folder of a logged model.
        request: a JSON file with `params`, and either `files`, a list of paths to answer in order, or `image`, the
            base64 text of one to answer `images` times.
        reply: the file to write.
    """
    asked = json.loads(Path(request).read_text())
    start = time.perf_counter()
    served = mlflow.pyfunc.load_model(model)
    load_s = time.perf_counter() - start
    with Path(reply).open("w") as out:
        for line in _files(served, asked) if "files" in asked else [_timed(served, asked) | {"load_s": load_s}]:
            out.write(json.dumps(line) + "\n")


def _files(served: Any, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    files = asked["files"]
    with tqdm(total=len(files), desc="answer images", mininterval=0.5) as bar:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            yield from _answers(served, [Path(file).read_bytes() for file in batch], asked["params"])
            bar.update(len(batch))


def _timed(served: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds that every answer took, one image a request; the first, which warms up, is not among them."""
    first = _answers(served, [asked["image"]], asked["params"])[0]
    if first["status"] != "ok":
        raise SystemExit(f"an image to be timed with was {first['status']}: {first['reason']}")
    seconds = []
    for _ in range(asked["images"]):
        start = time.perf_counter()
        _answers(served, [asked["image"]], asked["params"])
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def _answers(served: Any, images: list[Any], params: dict[str, str]) -> list[dict[str, Any]]:
    try:
        answers: list[dict[str, Any]] = served.predict(pd.DataFrame({"image": images}), params=params)
    except Exception as error:
        if type(error).__module__ == "secondread.errors":  # of the logged code: what its user can mend
            raise SystemExit(str(error)) from None
        raise
    return answers


if __name__ == "__main__":
    main(*sys.argv[1:])
