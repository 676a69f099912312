"""A folder on any server that speaks S3, which may be away for minutes; the one door to boto3."""

import errno
import os
import random
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import lru_cache
from http import HTTPStatus
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection

from secondread.errors import StorageError
from secondread.storage.folder import S3, Entry, Seen

Answer = TypeVar("Answer")

PATIENCE_S = 180.0  # that a server may be away
_LONGEST_PAUSE_S = 5.0
_AHEAD = 8  # files that are fetched while the caller works on one; of a large one its first range
_RANGE = 8 * 2**20  # bytes of a large file that are read in one request
_PART = 8 * 2**20  # bytes of a large file that are written in one request
_AT_ONCE = 4  # requests for one large file
_FEW = 256  # files that are asked for one by one rather than by a listing
_GONE = {"NoSuchKey", "404", "NotFound"}
_PASSING = {
    "SlowDown",
    "RequestTimeout",
    "RequestTimeoutException",
    "Throttling",
    "ThrottlingException",
    "InternalError",
}
_FOREIGN = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403", "Forbidden", "ExpiredToken"}

_MAKES_CLIENT = threading.Lock()


class S3Folder:
    """Implements `Folder` below a prefix of a bucket.

    Endpoint, region and credentials are what boto3 finds on the machine that asks (`AWS_ENDPOINT_URL`, its usual chain
    of credentials); they are never part of the folder, nor of what it is pickled to.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        # What listings told, so that nobody asks 750,000 times again; and whether they told of everything.
        self._listed: dict[str, Seen] = {}
        self._is_whole = False

    @classmethod
    def at(cls, address: str) -> "S3Folder":
        """Read `s3://bucket/prefix`.

        Raises:
            StorageError: it names no bucket.
        """
        bucket, _, prefix = address.removeprefix(S3).partition("/")
        if not re.fullmatch(r"[A-Za-z0-9._-]{3,63}", bucket):
            raise StorageError(f"{address}: names no bucket; write s3://BUCKET/FOLDER")
        return cls(bucket, prefix.strip("/"))

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"S3Folder({self.address!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Folder) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __reduce__(self) -> tuple[type["S3Folder"], tuple[str, str]]:
        return S3Folder, (self._bucket, self._prefix)

    @property
    def address(self) -> str:
        """See `Folder`."""
        return f"{S3}{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def name(self) -> str:
        """See `Folder`."""
        return (self._prefix or self._bucket).rpartition("/")[2]

    @property
    def is_shared(self) -> bool:
        """See `Folder`."""
        return True

    def is_there(self) -> bool:
        """See `Folder`."""
        return bool(self._page(Prefix=self._key(""), MaxKeys=1).get("Contents"))

    def is_vacant(self) -> bool:
        """See `Folder`."""
        return not self.is_there()

    def has(self, path: str) -> bool:
        """See `Folder`."""
        return self._head(path) is not None

    def entries(self, below: str = "") -> Iterator[Entry]:
        """See `Folder`."""
        prefix = self._key(f"{below}/" if below else "")
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            for common in page.get("CommonPrefixes", []):
                yield Entry(self._path(common["Prefix"]).rstrip("/"), "folder")
            for found in page.get("Contents", []):
                if found["Key"] != prefix:  # a folder's own marker
                    yield Entry(self._path(found["Key"]), "file")

    def walk(self, below: str, passed_over: Callable[[str], bool]) -> Iterator[Entry]:
        """See `Folder`; a key that is no path of a file is `other`."""
        prefix = f"{below}/" if below else ""
        entries = []
        for page in self._pages(Prefix=self._key(prefix)):
            for found in page.get("Contents", []):
                path = self._path(found["Key"])
                parts = path.removeprefix(prefix).split("/")
                if path.endswith("/") or path == prefix:  # a folder's own marker
                    continue
                self._listed[path] = _seen(found)
                if not any(map(passed_over, parts)):
                    is_file = all(part not in ("", ".", "..") for part in parts)
                    entries.append(Entry(path, "file" if is_file else "other"))
        self._is_whole = self._is_whole or not below
        yield from sorted(entries, key=_place_in_walk)

    def look(self, paths: Sequence[str]) -> list[Seen | None]:
        """See `Folder`: what a listing has told is not asked again."""
        unknown = [] if self._is_whole else [path for path in paths if path not in self._listed]
        if len(unknown) > _FEW:
            for _ in self.walk("", lambda name: False):
                pass
            unknown = []
        with ThreadPoolExecutor(_AHEAD) as threads:
            asked = dict(zip(unknown, threads.map(self._head, unknown), strict=True))
        return [self._listed.get(path) or asked.get(path) for path in paths]

    def read(self, path: str, most: int | None = None, start: int = 0) -> bytes:
        """See `Folder`: a large file in several requests at once."""
        return self._completed(self._range(path, start, most), path, start, most)

    def read_each(self, paths: Sequence[str], most: int | None = None) -> Iterator[bytes | OSError]:
        """See `Folder`."""
        waiting: deque[tuple[str, Future[_Range]]] = deque()
        with ThreadPoolExecutor(_AHEAD) as threads:
            for path in paths:
                waiting.append((path, threads.submit(self._range, path, 0, most)))
                if len(waiting) >= _AHEAD:
                    yield self._arrived(*waiting.popleft(), most)
            while waiting:
                yield self._arrived(*waiting.popleft(), most)

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Folder`: an object appears when it is whole, in one request or with the last one of many."""
        if len(data) <= _PART:
            body = bytes(data)
            self._ask(lambda s3: s3.put_object(Bucket=self._bucket, Key=self._key(path), Body=body))
            return
        while not self._write_in_parts(path, data):
            pass

    def tidy(self, below: str = "") -> None:
        """See `Folder`: parts of uploads that nobody completed, which are paid for as long as they lie there."""
        prefix = self._key(f"{below}/" if below else "")
        with suppress(StorageError):  # not every server can list them
            found = self._ask(lambda s3: s3.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix))
            for upload in found.get("Uploads", []):
                self._abort(upload["Key"], upload["UploadId"])

    def file_here(self, path: str) -> Path | None:
        """See `Folder`."""
        return None

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    def _path(self, key: str) -> str:
        return key[len(self._prefix) + 1 :] if self._prefix else key

    def _pages(self, **question: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self._page(**question)
            yield page
            if not page.get("IsTruncated"):
                return
            question["ContinuationToken"] = page["NextContinuationToken"]

    def _page(self, **question: Any) -> dict[str, Any]:
        page: dict[str, Any] = self._ask(lambda s3: s3.list_objects_v2(Bucket=self._bucket, **question))
        return page

    def _head(self, path: str) -> Seen | None:
        try:
            return _seen(self._ask(lambda s3: s3.head_object(Bucket=self._bucket, Key=self._key(path))))
        except FileNotFoundError:
            return None

    def _arrived(self, path: str, fetched: "Future[_Range]", most: int | None) -> bytes | OSError:
        try:
            return self._completed(fetched.result(), path, 0, most)
        except OSError as error:
            return error

    def _completed(self, first: "_Range", path: str, start: int, most: int | None) -> bytes:
        """Read what lies behind the first range of a file."""
        while True:
            end = first.size if most is None else min(start + most, first.size)
            begins = range(start + _RANGE, end, _RANGE)
            if not begins:
                return first.data
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                rest = threads.map(self._range, repeat(path), begins, [end - begin for begin in begins])
                ranges = [first, *rest]
            if len({found.version for found in ranges}) == 1:
                return b"".join(found.data for found in ranges)
            first = self._range(path, start, most)  # the file was replaced meanwhile

    def _range(self, path: str, start: int, most: int | None) -> "_Range":
        """Read at most so many bytes, and no more than one request is for."""
        wanted = f"bytes={start}-{start + min(_RANGE, most or _RANGE) - 1}"

        def get(s3: Any) -> _Range:
            found = s3.get_object(Bucket=self._bucket, Key=self._key(path), Range=wanted)
            with closing(found["Body"]) as body:  # entered itself, it would give urllib3's, with urllib3's errors
                data = body.read()
            return _Range(data, int(found["ContentRange"].rpartition("/")[2]), found["ETag"])

        try:
            return self._ask(get)
        except _Empty:
            return _Range(b"", 0, "")

    def _write_in_parts(self, path: str, data: bytes | memoryview) -> bool:
        """Upload a large file; False when the server has forgotten what it got, as one that starts anew has."""
        where = {"Bucket": self._bucket, "Key": self._key(path)}
        upload = self._ask(lambda s3: s3.create_multipart_upload(**where))["UploadId"]
        view = memoryview(data)

        def send(number: int) -> dict[str, Any]:
            body = bytes(view[(number - 1) * _PART : number * _PART])
            sent = self._ask(lambda s3: s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=body))
            return {"PartNumber": number, "ETag": sent["ETag"]}

        try:
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                parts = list(threads.map(send, range(1, -(-len(data) // _PART) + 1)))
            self._ask(
                lambda s3: s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
            )
        except _Forgotten:
            return False
        except BaseException:
            self._abort(where["Key"], upload)
            raise
        return True

    def _abort(self, key: str, upload: str) -> None:
        with suppress(StorageError, OSError, _Forgotten):
            self._ask(lambda s3: s3.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload))

    def _ask(self, question: Callable[[Any], Answer]) -> Answer:
        """Ask the server, again and again while it is away.

        Raises:
            FileNotFoundError: it has no such file.
            StorageError: it refuses, or was away for too long. Its own words, which hold keys, are not told.
        """
        pause, began, told = 0.1, 0.0, False
        while True:
            try:
                return question(_client())
            except (BotoCoreError, ClientError) as error:
                self._refuse(error)
                kind = type(error).__name__
            began = began or time.monotonic()
            away = time.monotonic() - began
            if away > PATIENCE_S:
                raise StorageError(
                    f"{self.address}: the S3 server has not answered for {away:.0f} s ({kind}); see to it or to "
                    "AWS_ENDPOINT_URL, and run the same command again: it goes on where it was"
                )
            if away > _LONGEST_PAUSE_S and not told:
                print(f"{self.address}: the S3 server does not answer ({kind}); waiting for it", file=sys.stderr)
                told = True
            time.sleep(pause * random.uniform(0.5, 1))  # or all workers would come back at one moment
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _refuse(self, error: Exception) -> None:
        """Raise what no second try would mend."""
        if isinstance(error, (HTTPClientError, NoConnection, IncompleteReadError)):
            return
        if not isinstance(error, ClientError):
            raise StorageError(
                f"{self.address}: boto3 cannot ask for it ({type(error).__name__}); set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY or a profile, here and on every worker"
            ) from None
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and code != "NotImplemented":
            return
        if status == HTTPStatus.TOO_MANY_REQUESTS or code in _PASSING:
            return
        if code == "NoSuchUpload":
            raise _Forgotten from None
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _Empty from None
        if code in _GONE:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
        step = "see to the credentials, here and on every worker" if code in _FOREIGN else "see to bucket and endpoint"
        said = code if re.fullmatch(r"\w{1,40}", code) else str(status)
        raise StorageError(f"{self.address}: the S3 server refuses ({said}); {step}") from None


class _Forgotten(Exception):
    """The server does not know an upload (any more)."""


class _Empty(Exception):
    """A range was asked for behind the end of a file."""


class _Range(NamedTuple):
    """Part of a file.

    Args:
        size: bytes of the whole file.
        version: another one when the content changes.
    """

    data: bytes
    size: int
    version: str


def _place_in_walk(entry: Entry) -> str:
    """Sorts as `Folder.walk` goes: the first characters of all put a folder's own files before the folders in it."""
    *folders, name = entry.path.split("/")
    return "".join(f"\1{folder}\0" for folder in folders) + f"\0{name}"


def _seen(found: dict[str, Any]) -> Seen:
    return Seen("file", int(found.get("Size", found.get("ContentLength", 0))), str(found["ETag"]).strip('"'))


def _client() -> Any:
    """The client of what the environment says, made by one of the threads that ask for it first: each takes 12 MB."""
    with _MAKES_CLIENT:
        return _client_of(_surroundings())


def _surroundings() -> tuple[tuple[str, str], ...]:
    return (("process", str(os.getpid())), *((key, value) for key, value in os.environ.items() if key[:4] == "AWS_"))


@lru_cache(maxsize=4)
def _client_of(surroundings: tuple[tuple[str, str], ...]) -> Any:
    """Making one takes as long as reading fifty files."""
    del surroundings  # they are the key
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=_AHEAD * _AT_ONCE,
        retries={"total_max_attempts": 1},  # `_ask` knows how long to wait
        request_checksum_calculation="when_required",  # other servers than Amazon's do not know the newer ones
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=config)
