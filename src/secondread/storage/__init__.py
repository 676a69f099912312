"""Files, whole or not at all: in folders of this machine, and on any server that speaks S3."""

from secondread.storage.aside import passing_folder, remove_unfinished, sha256_of, write_aside
from secondread.storage.folder import Folder, open_around, open_folder

__all__ = [
    "Folder",
    "open_around",
    "open_folder",
    "passing_folder",
    "remove_unfinished",
    "sha256_of",
    "write_aside",
]
