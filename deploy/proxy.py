"""nginx: its configuration, written from the settings, and its process."""

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

from jinja2 import Environment, StrictUndefined

from deploy.events import EventLog, has_grown, rotate
from deploy.settings import Settings
from deploy.state import GatewayError, State

_HERE = Path(__file__).parent
_PAGE = _HERE / "page"
_DRAIN_S = 35


class Proxy:
    """An nginx of the gateway's own, all of whose files are in the gateway's folder."""

    def __init__(self, settings: Settings, state: State, log: EventLog) -> None:
        self._settings, self._state, self._log = settings, state, log
        self._configuration = state.run / "nginx.conf"
        self._nginx = find_nginx()
        self._process: subprocess.Popen[str] | None = None

    def configure(self) -> bool:
        """Write the configuration from settings, token and certificate; tell whether it is another one than before.

        Raises:
            GatewayError: nginx refuses it.
        """
        shutil.copytree(_PAGE, self._state.run / "page", dirs_exist_ok=True)  # the one that its policy is about
        text = render(self._settings, self._state)
        if self._configuration.exists() and self._configuration.read_text() == text:
            return False
        untested = self._configuration.with_suffix(".untested")
        untested.write_text(text)
        tested = subprocess.run([*self._command(untested), "-t", "-q"], capture_output=True, text=True, check=False)
        if tested.returncode:
            raise GatewayError(f"nginx refuses its configuration: {tested.stderr.strip()}")
        untested.replace(self._configuration)
        return True

    def start(self) -> None:
        """Start nginx; call it in the main thread, with which it ends."""
        self._kill_all()
        for socket in ("admission", "status"):  # nginx does not start where it left one behind
            (self._state.run / f"{socket}.sock").unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *self._command(self._configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the supervisor, which lets requests end first
        )
        assert self._process.stderr is not None  # it is a pipe
        threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True).start()

    @property
    def was_started(self) -> bool:
        """Whether it should run."""
        return self._process is not None

    @property
    def runs(self) -> bool:
        """Whether nginx runs."""
        return self._process is not None and self._process.poll() is None

    def reload(self) -> None:
        """Let nginx take its configuration anew; requests in work are finished under the old one."""
        self._signal(signal.SIGHUP)

    def rotate_log(self) -> None:
        """Put a large access log away."""
        if has_grown(self._state.access_log):
            rotate(self._state.access_log)
            self._signal(signal.SIGUSR1)

    def stop(self) -> None:
        """Take no more connections, finish the requests in work, end."""
        if self._process is None:
            return
        self._signal(signal.SIGQUIT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_DRAIN_S)
        self._kill_all()

    def _kill_all(self) -> None:
        """End what is left of an nginx: its workers outlive a master that was killed, and keep its port."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _command(self, configuration: Path) -> list[str]:
        return [self._nginx, "-p", str(self._state.run), "-e", "stderr", "-c", str(configuration)]

    def _signal(self, number: signal.Signals) -> None:
        if self.runs and self._process is not None:
            self._process.send_signal(number)

    def _listen(self, output: IO[str]) -> None:
        for line in output:
            self._log.write("nginx", message=without_client(line))


def without_client(line: str) -> str:
    """A line of nginx's error log without what a client sent: its words in quotes, and the request behind `client:`."""
    message = re.sub(r"^\S+ \S+ ", "", line.strip()).partition(", client:")[0]
    return re.sub(r'"[^"]*"?', '"..."', message)


def find_nginx() -> str:
    """nginx's program; Debian keeps it where only root looks.

    Raises:
        GatewayError: there is none.
    """
    path = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if path is None:
        raise GatewayError("nginx is absent; on Debian: apt-get install nginx-light")
    return path


def render(settings: Settings, state: State) -> str:
    """nginx.conf for these settings, with the token in it.

    Raises:
        GatewayError: the token is not one.
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    template = environment.from_string((_HERE / "nginx.conf.jinja").read_text())
    return template.render(
        settings=settings,
        state=state,
        token=state.read_token(),
        certificate_digest=hashlib.sha256(state.certificate.read_bytes()).hexdigest(),
        is_root=os.geteuid() == 0,
        content_security_policy=content_security_policy((_PAGE / "index.html").read_text()),
    )


def content_security_policy(page: str) -> str:
    """Let the page run its own script and style, by digest, show local pictures and ask its gateway; no more."""
    digests = {
        kind: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        )
        for kind in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {digests['script']}; style-src {digests['style']}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
