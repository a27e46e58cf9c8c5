"""`brushcast-worker pair`: lets another machine use this worker; lists and revokes. The other half
is `brushcast pair`."""

from __future__ import annotations

import datetime
import json
import os
import socket
import sys

import click

from brushcast.errors import ConfigError
from brushcast.folders import keys_folder
from brushcast.wire.curve import (
    BRIDGES,
    WORKER_KEY,
    KeyList,
    KeyPair,
    Known,
    fingerprint,
    read_keys,
    write_keys,
)
from brushcast.wire.endpoint import Endpoint, parse_endpoint
from brushcast.wire.pairing import Invitation, new_invitation, offer
from brushcast.wire.sockets import open_context
from brushcast.wire.zap import new_keys

SERVE_PORT, PAIR_PORT = 7171, 7172
LEAST_S, MOST_S = 5, 3600
# An address for documentation (RFC 5737): no packet is sent, the system only says which of our
# addresses it would send one from.
_ELSEWHERE = ("192.0.2.1", 9)


@click.command()
@click.option(
    "--address", default="", help="How the other machine reaches this one; default: found."
)
@click.option("--port", default=SERVE_PORT, show_default=True, help="On which the worker serves.")
@click.option(
    "--bind",
    default=f"tcp://0.0.0.0:{PAIR_PORT}",
    show_default=True,
    help="Where to listen for the other machine while pairing; port 0: any free one.",
)
@click.option(
    "--for",
    "seconds",
    default=300.0,
    show_default=True,
    type=click.FloatRange(LEAST_S, MOST_S),
    help="How long the line is good, in seconds.",
)
@click.option("--list", "listing", is_flag=True, help="The machines that may use this worker.")
@click.option("--revoke", metavar="NAME", help="End a machine's use of this worker, at once.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone: events as lines.")
def pair(
    address: str,
    port: int,
    bind: str,
    seconds: float,
    listing: bool,
    revoke: str | None,
    as_json: bool,
) -> None:
    """Let another machine use this worker.

    Prints a line, good once and for five minutes, for `brushcast pair` on that machine, and waits
    for it. Then: brushcast-worker serve --bind tcp://0.0.0.0:7171. A worker that serves already
    knows the new machine at once, and no longer one that was revoked.
    """
    if listing and revoke is not None:
        raise ConfigError("pair: wanted one of --list and --revoke")
    bridges = KeyList(keys_folder() / BRIDGES)
    if listing:
        _list(bridges, as_json)
    elif revoke is not None:
        gone = bridges.remove(revoke)
        said = {"name": gone.name, "key": fingerprint(gone.key)}
        click.echo(json.dumps(said) if as_json else f"revoked {gone.name} ({said['key']})")
    else:
        _pair(bridges, _where(address, port, bind), port, parse_endpoint(bind), seconds, as_json)


def _pair(
    bridges: KeyList, host: str, port: int, bind: Endpoint, seconds: float, as_json: bool
) -> None:
    keys = worker_keys(make=True)
    assert keys is not None
    bridges.entries()  # a damaged list is said before anybody is asked to carry a line
    context = open_context()
    paired: list[Known] = []

    def admit(key: bytes, name: str) -> str:
        today = datetime.date.today().isoformat()
        paired.append(bridges.add(Known(name=name, key=key, paired=today)))
        return paired[0].name

    # The port is known once it is bound, the line only then.
    invitation = new_invitation(Endpoint("tcp", host, bind.port or 1), port, keys.public)

    def listening(endpoint: Endpoint) -> None:
        meets = Endpoint("tcp", host, endpoint.port)
        line = Invitation(meets, port, invitation.key, invitation.secret).line
        _invite(line, seconds, keys, as_json)

    try:
        offer(
            invitation, context=context, bind=bind, keys=keys, seconds=seconds, admit=admit,
            listening=listening,
        )  # fmt: skip
    finally:
        context.term()
    key, own = fingerprint(paired[0].key), fingerprint(keys.public)
    if as_json:
        event = {"event": "paired", "name": paired[0].name, "key": key, "worker_key": own}
        click.echo(json.dumps(event))
        return
    click.echo(f"Paired with {paired[0].name}. Both show:")
    click.echo(f"  the worker's key      {own}")
    click.echo(f"  that machine's key    {key}")
    click.echo(f"Now, unless it runs: brushcast-worker serve --bind tcp://0.0.0.0:{port}")


def worker_keys(*, make: bool = False) -> KeyPair | None:
    """This worker's key pair, made now if wanted. Raises ConfigError."""
    path = keys_folder() / WORKER_KEY
    keys = read_keys(path)
    if keys is None and make:
        keys = new_keys()
        write_keys(path, keys)
    return keys


def _invite(line: str, seconds: float, keys: KeyPair, as_json: bool) -> None:
    if as_json:
        event = {"event": "invitation", "line": line, "seconds": seconds,
                 "worker_key": fingerprint(keys.public)}  # fmt: skip
        click.echo(json.dumps(event))
    else:
        quoted = f'"{line}"' if "[" in line else line
        click.echo(f"On the other machine, once and within {seconds:.0f} s:\n")
        click.echo(f"  brushcast pair {quoted}\n")
        click.echo("Whoever has this line can pair: give it to nobody else.")
    sys.stdout.flush()


def _list(bridges: KeyList, as_json: bool) -> None:
    rows = [
        {"name": one.name, "key": fingerprint(one.key), "paired": one.paired}
        for one in bridges.entries()
    ]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("no machine may use this worker")
    else:
        for row in rows:
            click.echo(f"{row['name']:<24} {row['key']}  {row['paired']}")


def _where(address: str, port: int, bind: str) -> str:
    """The host that the line names. Raises ConfigError."""
    if not 0 < port < 65536:
        raise ConfigError(f"--port {port}: wanted 1 to 65535")
    listen = parse_endpoint(bind)
    if listen.scheme != "tcp":
        raise ConfigError(f"--bind {bind}: wanted tcp://HOST:PORT")
    if address:
        shown = f"[{address}]" if ":" in address else address
        return parse_endpoint(f"tcp://{shown}:{port}").host
    if listen.host not in ("0.0.0.0", "*", "::"):
        return listen.host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            return str(probe.getsockname()[0])
        except OSError as error:
            raise ConfigError(
                f"this machine's address is not known ({os.strerror(error.errno or 0)}): "
                "wanted --address HOST"
            ) from None
