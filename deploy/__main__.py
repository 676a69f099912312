"""`python -m deploy serve|reload|stop`: start the gateway, bring it new champions, end it."""

import argparse
import os
import time
from pathlib import Path

from deploy.settings import Settings, read_settings
from deploy.state import GatewayError, State
from deploy.supervisor import Supervisor
from deploy.unix_http import Reply, ask
from secondread.cli import fail
from secondread.errors import SecondReadError
from secondread.tracking.home import home

_SETTINGS = Path(__file__).with_name("gateway.yaml")
_RELOAD_S = 600
_STOP_S = 120


def main(arguments: list[str] | None = None) -> None:
    """Run a verb; exits with 1 on an error that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m deploy", description="nginx in front of model workers.")
    verbs = parser.add_subparsers(metavar="VERB", dest="verb", required=True)
    serve = verbs.add_parser("serve", help="start the gateway and stay until it is stopped")
    serve.add_argument("--settings", type=Path, default=_SETTINGS, help="a YAML file (default: deploy/gateway.yaml)")
    verbs.add_parser("reload", help="let the champions of this moment answer, without dropping a request")
    verbs.add_parser("stop", help="finish the requests in work and end")
    known = parser.parse_args(arguments)
    state = State(home() / "gateway")
    try:
        if known.verb == "serve":
            _serve(read_settings(known.settings), state)
        elif known.verb == "reload":
            _reload(state)
        else:
            _stop(state)
    except SecondReadError as error:
        fail(error)


def _serve(settings: Settings, state: State) -> None:
    os.umask(0o077)
    with state.alone():
        Supervisor(settings, state, _say).serve(lambda: _say(_welcome(settings, state)))
    _say("stopped")


def _reload(state: State) -> None:
    reply = _ask(state, "/reload")
    if reply.status != 200:
        raise GatewayError(reply.content["error"])
    for line in reply.content["said"]:
        _say(line)


def _stop(state: State) -> None:
    _ask(state, "/stop")
    until = time.monotonic() + _STOP_S
    while time.monotonic() < until:
        try:
            with state.alone():
                _say("stopped")
                return
        except GatewayError:
            time.sleep(0.1)
    raise GatewayError(f"{state.folder}: the gateway did not end within {_STOP_S} s")


def _ask(state: State, target: str) -> Reply:
    try:
        return ask(state.control, "POST", target, timeout_s=_RELOAD_S)
    except OSError:
        raise GatewayError(f"{state.folder}: no gateway answers from here; `make serve` starts one") from None


def _say(text: str) -> None:
    print(text, flush=True)


def _welcome(settings: Settings, state: State) -> str:
    address = f"https://localhost:{settings.port}"
    trusted = f'curl -s --cacert {state.certificate} -H "Authorization: Bearer $(cat {state.token})"'
    first = settings.tasks[0]
    return f"""
The gateway answers at {address}
  page          {address}/
  token         {state.token}
  certificate   {state.certificate}

  {trusted} {address}/models

  printf '{{"dataframe_records": [{{"image": "%s"}}]}}' "$(base64 < FILE | tr -d '\\n')" |
    {trusted} \\
      -H 'Content-Type: application/json' --data-binary @- {address}/{first}/invocations

`make reload` after a promotion or rollback; `make stop` or Ctrl-C ends it."""


if __name__ == "__main__":
    main()
