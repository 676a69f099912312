"""Index, divide and preprocess a source into a store."""

from pathlib import Path

import numpy as np

from secondread.config import RunConfig
from secondread.data.audit import audit
from secondread.data.patient_key import load_secret
from secondread.data.prepare import Prepared, counted, source_index
from secondread.data.statistics import series_lengths
from secondread.data.store import build_store
from secondread.imaging.preprocess import Preprocess
from secondread.report.data_set import PAGE, data_set_page
from secondread.storage import open_folder
from secondread.tasks import load_task
from secondread.tracking.home import home


def preprocess(config: RunConfig, out: str | Path) -> None:
    """Write a store, and say what was recognised, put aside and found by the audit.

    Raises:
        SecondReadError: the source cannot be read, or `out` holds something else.
    """
    task = load_task(config.task)
    index = source_index(config.data.path, config.data.layout, task, config, home(), print)
    form = Preprocess.build(task, config.preprocess, index.unit, index.display_window)
    secret = load_secret(home())
    store = build_store(index, task.name, form, config.data, out, secret, config.execution.who)
    put_aside = counted(store.put_aside()["rule"])
    report = audit(store.manifest)
    print(report.text())
    if series := series_lengths(store.manifest):
        print(series.text())
    for rule, count in put_aside.items():
        print(f"put aside: {count:,} by rule {rule}; see {out}/quarantine.csv")
    manifest = store.manifest.assign(row=np.arange(len(store.manifest)), fold=-1)
    root = open_folder(store.description.root)
    made = Prepared(store.name, root, manifest, store.pixels_in_place, form, {}, report, put_aside)
    store.folder.write(PAGE, data_set_page(task, made).encode())
    print(f"what is in it: {out}/{PAGE}")
    print(
        f"store of {len(store.manifest):,} images in {out}; next: python -m secondread train --task {task.name} "
        f"--data {out} --model {config.model.name}"
    )
