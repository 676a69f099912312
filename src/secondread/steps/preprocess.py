"""Index, divide and preprocess a source into a store."""

from pathlib import Path

import pandas as pd

from secondread.config import RunConfig
from secondread.data.audit import audit
from secondread.data.patient_key import load_secret
from secondread.data.prepare import source_index
from secondread.data.store import build_store
from secondread.imaging.preprocess import Preprocess
from secondread.tasks import load_task
from secondread.tracking.home import home


def preprocess(config: RunConfig, out: Path) -> None:
    """Write a store, and say what was recognised, put aside and found by the audit.

    Raises:
        SecondReadError: the source cannot be read, or `out` holds something else.
    """
    task = load_task(config.task)
    index = source_index(config.data.path, config.data.layout, task, config, home(), print)
    form = Preprocess.build(task, config.preprocess, index.unit, index.display_window)
    secret = load_secret(home())
    store = build_store(index, task.name, form, config.data, out, secret, config.execution.workers)
    put_aside = pd.read_csv(out / "quarantine.csv")["rule"].value_counts()
    print(audit(store.manifest).text())
    for rule, count in put_aside.items():
        print(f"put aside: {count:,} by rule {rule}; see {out / 'quarantine.csv'}")
    print(
        f"store of {len(store.manifest):,} images in {out}; next: python -m secondread train --task {task.name} "
        f"--data {out} --model {config.model.name}"
    )
