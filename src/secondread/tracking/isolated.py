"""Run as a script, by path, in a process of its own: load a logged model and answer files.

It imports nothing of this project, so that the model runs the code it was logged with.
"""

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from tqdm import tqdm

_BATCH = 64


def main(model: str, request: str, reply: str) -> None:
    """Answer the files that `request` names and write one JSON object a line to `reply`, in order.

    Args:
        model: folder of a logged model.
        request: a JSON file with `files`, a list of paths, and `params`.
        reply: the file to write.
    """
    asked = json.loads(Path(request).read_text())
    served = mlflow.pyfunc.load_model(model)
    files = asked["files"]
    with Path(reply).open("w") as out, tqdm(total=len(files), desc="answer images", mininterval=0.5) as bar:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            images = pd.DataFrame({"image": [Path(file).read_bytes() for file in batch]})
            for answer in _answers(served, images, asked["params"]):
                out.write(json.dumps(answer) + "\n")
            bar.update(len(batch))


def _answers(served: Any, images: pd.DataFrame, params: dict[str, str]) -> list[dict[str, Any]]:
    try:
        answers: list[dict[str, Any]] = served.predict(images, params=params)
    except Exception as error:
        if type(error).__module__ == "secondread.errors":  # of the logged code: what its user can mend
            raise SystemExit(str(error)) from None
        raise
    return answers


if __name__ == "__main__":
    main(*sys.argv[1:])
