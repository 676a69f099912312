"""Label tables: CSV files as people publish them."""

import codecs
import csv
from io import BytesIO, StringIO

import pandas as pd

from secondread.data.sources.listing import file_names
from secondread.errors import SourceError
from secondread.storage import Folder

_START = 1 << 16  # bytes in which a header ends


def columns_of(root: Folder, table: str) -> list[str]:
    """Column names of a CSV, lower-case and without the spaces around them; empty when it is no CSV file."""
    lines = first_lines(root, table)
    try:
        return [name.strip().lower() for name in next(csv.reader(lines), [])]
    except csv.Error:
        return []


def first_lines(root: Folder, table: str) -> list[str]:
    """The lines at the start of a table, the last of which may be cut short; empty when it is no text file."""
    if not root.has(table):
        return []
    try:
        start = root.read(table, _START)
    except OSError as error:  # its text names the table
        raise SourceError(
            f"a table of the source cannot be opened ({error.strerror}); mend it, or move it elsewhere"
        ) from None
    try:
        # What the end cuts through is left out.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start)
    except UnicodeDecodeError:
        return []
    return list(StringIO(text, newline=""))


def read_table(root: Folder, table: str) -> pd.DataFrame:
    """Read a CSV as text.

    Args:
        table: its path.
    Returns:
        Columns named as `columns_of` says, values without the spaces around them, "" where empty; the index is the line
        in the file, the header being line 1.
    Raises:
        SourceError: the table is damaged or names a column twice.
    """
    names = columns_of(root, table)
    if len(set(names)) < len(names):
        raise SourceError(f"{root}: the label table names a column twice; keep one of them")
    try:
        # Read with its first line as a row, so that a row longer than the header is an error.
        content = BytesIO(root.read(table))
        read = pd.read_csv(content, dtype=str, encoding="utf-8-sig", header=None, skip_blank_lines=False)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError):
        raise SourceError(f"{root}: the label table is no whole UTF-8 CSV; save it again or fetch it anew") from None
    read.index = read.index + 1
    filled = read.iloc[1:].dropna(how="all").fillna("")
    return pd.DataFrame({name: filled[position].str.strip() for position, name in enumerate(names)})


def csv_files(root: Folder) -> list[str]:
    """CSV files directly inside a folder, sorted."""
    return sorted(name for name in file_names(root) if name.lower().endswith(".csv"))


def read_numbers(texts: pd.Series, where: str) -> pd.Series:
    """Read a column of whole numbers, such as ids without their padding.

    Raises:
        SourceError: names the row.
    """
    wrong = ~texts.str.fullmatch(r"\d{1,9}")
    if wrong.any():
        first = int(wrong.to_numpy().argmax())  # not quoted: where columns have shifted, it may be a name
        raise SourceError(f"{where}: row {texts.index[first]} has no whole number; correct the label table")
    return texts.astype("int64")


def drop_repeats(rows: pd.DataFrame, keys: list[str], root: Folder) -> pd.DataFrame:
    """Keep the first of rows that say the same.

    Raises:
        SourceError: two rows of one key say different things; both are named.
    """
    distinct = rows.drop_duplicates()
    again = distinct.duplicated(keys)
    if again.any():
        line = distinct.index[int(again.to_numpy().argmax())]
        same = (distinct[keys] == distinct.loc[line, keys]).all(axis=1)
        raise SourceError(
            f"{root}: rows {distinct.index[same.to_numpy()][0]} and {line} of the label table contradict each other "
            f"about one image ({int(again.sum())} such rows); keep the right one"
        )
    return distinct
