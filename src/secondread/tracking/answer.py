"""Answer files with a logged model, under the code that it was logged with."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from secondread.errors import BundleError

_SCRIPT = Path(__file__).with_name("isolated.py")


def answer_files(model: Path, files: Sequence[Path], operating_point: str) -> list[dict[str, Any]]:
    """Answer each file, in order, in a child process: two models in one process would share the first one's code.

    Args:
        model: folder of a logged model.
    Returns:
        the served answers.
    Raises:
        BundleError: the model could not be loaded or has no such operating point; its own words went to stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        request, reply = Path(folder) / "request.json", Path(folder) / "reply.jsonl"
        asked = {"files": [str(file.absolute()) for file in files], "params": {"operating_point": operating_point}}
        request.write_text(json.dumps(asked))
        # Isolated (-I): neither PYTHONPATH nor the folder it runs in may bring this project's code in first.
        command = [sys.executable, "-I", str(_SCRIPT), str(model), str(request), str(reply)]
        done = subprocess.run(command, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}, check=False)
        if done.returncode:
            raise BundleError(f"the model did not answer (exit status {done.returncode}); what it said is above")
        return [json.loads(line) for line in reply.read_text().splitlines()]
