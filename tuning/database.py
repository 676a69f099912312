"""The database that many machines share: reached without showing its password, and waited for while it is away."""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from secondread.errors import ConfigError, SearchError

Result = TypeVar("Result")
Connection = psycopg.Connection[tuple[object, ...]]

_SCHEMES = ("postgresql", "postgresql+psycopg")
# Both sides notice within a minute that the other's machine is gone: only then does the server free its locks.
_OF_THE_SERVER = {
    "tcp_keepalives_idle": 30,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_OF_THE_CLIENT = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
_PATIENCE_S = 3600.0  # a database is mended, or moved, in less
_OPENING_S = 30.0  # an address that never answered is more likely mistyped
# What no patience mends.
_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")


class Away(Exception):
    """The database did not answer."""


class Database:
    """A Postgres that several machines reach.

    Args:
        url: postgresql://USER:PASSWORD@HOST:PORT/NAME; what it leaves out is taken from PGPASSWORD and the like.
    Raises:
        ConfigError: it is no such URL.
    """

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        self._password = ""
        try:
            if scheme not in _SCHEMES or not rest:
                raise ValueError(scheme)
            parts = urlsplit(url)
            self._password = parts.password or ""
            if parts.port == 0 or set("@:") & set(parts.path):  # the port is read, and must be one
                raise ValueError(parts.scheme)
            self._settings = conninfo_to_dict(f"postgresql://{rest}")
        except (ValueError, psycopg.Error):
            # Nothing of it is shown: what cannot be read may hold a password anywhere.
            raise ConfigError(
                "storage: use local, or postgresql://USER:PASSWORD@HOST:PORT/NAME with / @ : in a password written "
                f"%2F %40 %3A. Received: {scheme if scheme in _SCHEMES else 'a text'} that is no such address"
            ) from None
        self._settings.pop("fallback_application_name", None)

    def __str__(self) -> str:
        """Where it is, without the password."""
        known = {name: str(self._settings.get(name) or "") for name in ("user", "host", "port", "dbname")}
        user = f"{known['user']}@" if known["user"] else ""
        port = f":{known['port']}" if known["port"] else ""
        return f"postgresql://{user}{known['host']}{port}/{known['dbname']}"

    def scrubbed(self, text: str) -> str:
        """A message of the driver or the server, should it repeat the password."""
        for secret in {self._password, unquote(self._password), str(self._settings.get("password") or "")} - {""}:
            text = text.replace(secret, "***")
        return text

    def connect(self) -> Connection:
        """Open a session of which either side notices when the other is gone.

        Raises:
            Away: it does not answer.
            SearchError: it refuses, and will go on to.
        """
        given: dict[str, object] = {"connect_timeout": 10, "application_name": "secondread", **_OF_THE_CLIENT}
        try:
            connection: Connection = psycopg.connect(**{**given, **self._settings})  # type: ignore[arg-type]  # read from a URL
        except psycopg.OperationalError as error:
            reason = self.scrubbed(" ".join(str(error).split()))
            if any(refusal in reason for refusal in _REFUSALS):
                raise SearchError(f"{self}: {reason}; correct storage, or see to the database") from None
            raise Away(reason) from None
        settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _OF_THE_SERVER.items())
        try:
            connection.execute(f"SELECT {settings}")
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection


def patiently(call: Callable[[], Result], database: str, *, opening: bool = False) -> Result:
    """Call again, and again later, while the database is away; the call must bear being repeated.

    Args:
        database: how it is named in messages.
    Raises:
        SearchError: it has been away for too long.
    """
    patience = _OPENING_S if opening else _PATIENCE_S
    began, pause = time.monotonic(), 0.1
    while True:
        try:
            return call()
        except Away as error:
            if time.monotonic() - began > patience:
                raise SearchError(
                    f"{database} has not answered for {patience:.0f} s ({error}); nothing is lost: start the same "
                    "command again once it does"
                ) from None
            if pause == 0.1:
                logging.getLogger(__name__).warning("%s does not answer (%s); trying again", database, error)
        time.sleep(pause * random.uniform(0.5, 1))
        pause = min(5.0, pause * 2)
