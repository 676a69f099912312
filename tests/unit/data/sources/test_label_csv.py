"""A label table is read or refused, whatever it holds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondread.data.sources.label_csv import columns_of, read_table
from secondread.errors import SourceError
from secondread.storage import open_folder
from secondread.storage.local import LocalFolder

CELLS = st.text(max_size=8) | st.sampled_from(
    ["path", "0", "1", "", " ", '"', ",", "\r", "\0", "=1+1", "\ud83e", "nan"]
)
LINES = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=6).map("\n".join)
TABLES = LINES.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "labels.csv"


@given(content=TABLES, mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_any_table_is_read_or_refused(table: Path, content: bytes, mark: bytes) -> None:
    table.write_bytes(mark + content)
    root = open_folder(table.parent)
    names = columns_of(root, table.name)
    try:
        read = read_table(root, table.name)
    except SourceError:
        return
    assert list(read.columns) == names
    assert not read.isna().to_numpy().any()


def test_a_table_that_cannot_be_opened_is_refused_without_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "Mustermann.csv"
    table.write_text("path,any\n")

    def refuse(folder: LocalFolder, path: str, most: int | None = None) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(LocalFolder, "read", refuse)
    with pytest.raises(SourceError, match=r"^a table of the source cannot be opened \(Permission denied\); mend it"):
        columns_of(open_folder(tmp_path), table.name)
