"""What `deploy/gateway.yaml` says, checked."""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secondread.errors import ConfigError

TaskName = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]  # it becomes a part of nginx.conf


class Settings(BaseModel):
    """Settings of a gateway.

    Args:
        host: a numeric address that nginx listens at.
        tasks: the registered models that are served, each at `/TASK/invocations`.
        workers: processes a task.
        in_flight_per_worker: requests that a worker has at most, at work or waiting, where all share alike.
        requests_per_second: of one address.
        burst: requests that an address may run ahead of that rate.
        body_mb: size of a request's body, in MB.
        answer_s: seconds until a request is given up; no answer takes longer than 5 more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(pattern=r"^[0-9.]+$|^\[[0-9a-f:]+\]$")
    port: int = Field(ge=1, le=65535)
    tasks: tuple[TaskName, ...] = Field(min_length=1)
    workers: int = Field(ge=1, le=64)
    in_flight_per_worker: int = Field(ge=1, le=64)
    requests_per_second: int = Field(ge=1)
    burst: int = Field(ge=1)
    body_mb: int = Field(ge=1, le=1024)
    answer_s: int = Field(ge=1, le=600)


def read_settings(path: Path) -> Settings:
    """Read a gateway's settings.

    Raises:
        ConfigError: the file is not there, or a setting is unknown, missing or out of range.
    """
    try:
        return Settings.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; deploy/gateway.yaml is the one to copy") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {_first_line(error)}; deploy/gateway.yaml shows every setting") from None


def _first_line(error: ValidationError | yaml.YAMLError) -> str:
    if isinstance(error, yaml.YAMLError):
        return "it is not YAML"
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{place}: {first['msg']}. Received: {first['input']!r}"
