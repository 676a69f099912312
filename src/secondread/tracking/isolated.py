"""Run as a script, by path, in a process of its own: load a logged model and answer files.

It imports nothing of this project, so that the model runs the code it was logged with.
"""

import json
import sys
from pathlib import Path

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
            for answer in served.predict(images, params=asked["params"]):
                out.write(json.dumps(answer) + "\n")
            bar.update(len(batch))


if __name__ == "__main__":
    main(*sys.argv[1:])
