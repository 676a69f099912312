"""Copy the DICOM files of a folder without what identifies their patients."""

import hashlib
import json
import os
from pathlib import Path

import pandas as pd

from secondread.config import load_config
from secondread.data.clean_copies import batches, write_batch
from secondread.data.patient_key import load_secret
from secondread.data.prepare import PHANTOM, source_index
from secondread.data.unlabelled import Listed, folder_files
from secondread.errors import ConfigError, SourceError
from secondread.execution import map_in_processes
from secondread.storage import Folder, open_folder, sha256_of, write_aside
from secondread.tasks import load_task
from secondread.tracking.home import home

FILES = "files.csv"  # in the folder of copies: each copy, and whether text is suspected in its pixels


def deidentify(source: str, out: Path, workers: int | None = None) -> None:
    """Write clean copies of a folder's DICOM files; a job that was interrupted goes on where it was.

    `OUT/PATIENT/STUDY/SERIES/INSTANCE.dcm` are the copies, under names that tell nothing, and `OUT/files.csv` says
    where text is suspected in the pixels. What became of each source file is kept apart, for its owner alone: its name
    may be a patient's.

    Args:
        source: a folder, here or on S3, or `phantom`.
        out: a new folder, neither inside the source nor around it.
        workers: processes; None is one a core.
    Raises:
        SecondReadError: the folders cannot be used.
    """
    root, out = _root(source), out.resolve()
    here = root.file_here("")
    if here is not None and (out.is_relative_to(here.resolve()) or here.resolve().is_relative_to(out)):
        raise ConfigError(f"out={out}: copies and source must lie apart; choose another `out`")
    secret = load_secret(home())
    print(f"listing the files of {source}", flush=True)
    files = list(folder_files(root, out))
    if not files:
        raise SourceError(f"{source}: holds no file; give a folder of DICOM files")
    work = home() / "deidentified" / _digest(files, root, out, secret)
    if not work.is_dir() and out.exists() and any(out.iterdir()):
        raise ConfigError(f"out={out}: holds something else, or copies of other files; choose another `out`")
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    out.mkdir(parents=True, exist_ok=True)
    jobs = batches(root, [file.path for file in files], secret, out, work)
    waiting = [job for job in jobs if not job.rows_file.exists()]
    for _ in map_in_processes(write_batch, waiting, workers, f"de-identify {len(files):,} files"):
        pass
    _report(pd.concat([pd.read_parquet(job.rows_file) for job in jobs], ignore_index=True), work, out)


def _root(source: str) -> Folder:
    if source == PHANTOM:
        config = load_config("hemorrhage", {"data": PHANTOM})
        return source_index(PHANTOM, "auto", load_task("hemorrhage"), config, home(), print).root
    root = open_folder(source)
    if not root.is_there():
        raise SourceError(f"{source}: there is no such folder; give a folder of DICOM files")
    return open_folder(root.address)  # absolute: workers may have begun in another folder


def _digest(files: list[Listed], root: Folder, out: Path, secret: bytes) -> str:
    """Names the job: the same files, unchanged, to the same folder by the same secret."""
    job = json.dumps([files, root.address, os.fspath(out), sha256_of(b"secret of " + secret)])
    return hashlib.sha256(job.encode()).hexdigest()[:16]


def _report(rows: pd.DataFrame, work: Path, out: Path) -> None:
    written = rows[rows["status"] == "written"]
    copies = written[["output", "burned_in"]].drop_duplicates("output").sort_values("output")
    with write_aside(out / FILES) as aside:
        copies.to_csv(aside, index=False)
    report = work / "report.csv"
    with write_aside(report) as aside:
        rows.to_csv(aside, index=False, errors="backslashreplace")
        aside.chmod(0o600)
    patients = copies["output"].str.split("/").str[0].nunique()
    print(f"{len(copies):,} copies of {patients:,} patients in {out}")
    if len(written) > len(copies):
        print(f"{len(written) - len(copies):,} files were the same as another")
    put_aside = rows[rows["status"] != "written"]
    for rule, count in put_aside["rule"].value_counts().sort_index().items():
        print(f"not copied: {count:,} by rule {rule}")
    suspected = int((copies["burned_in"] != "").sum())
    print(f"text is suspected in the pixels of {suspected:,} copies; look at them before they leave: {out / FILES}")
    print(f"what became of each file, for you alone, as it holds their names: {report}")
