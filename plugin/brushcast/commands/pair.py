"""`brushcast pair`: this machine with a worker on another one. The worker's half is
`brushcast-worker pair`."""

from __future__ import annotations

import datetime
import json
import socket
import sys

import click

from brushcast.errors import ConfigError
from brushcast.folders import keys_folder
from brushcast.options import json_option


@click.command()
@click.argument("line", required=False)
@click.option("--name", default="", help="What the worker shall call this machine.")
@click.option(
    "--list", "listing", is_flag=True, help="The workers that this machine is paired with."
)
@click.option("--forget", metavar="NAME", help="Forget a worker's key.")
@json_option
def pair(line: str | None, name: str, listing: bool, forget: str | None, as_json: bool) -> None:
    """Pair with a worker on another machine: LINE is what `brushcast-worker pair` prints there.

    Without LINE it is read from standard input, where neither other users nor the shell's history
    see it. Compare the two keys that both machines show.
    """
    if (line is not None) + listing + (forget is not None) > 1:
        raise ConfigError("pair: wanted one of LINE, --list and --forget")
    if listing:
        _list(as_json)
    elif forget is not None:
        _forget(forget, as_json)
    else:
        _pair(line if line is not None else _read_line(), name, as_json)


def _pair(line: str, name: str, as_json: bool) -> None:
    from brushcast.wire.curve import (
        BRIDGE_KEY,
        WORKERS,
        KeyList,
        Known,
        fingerprint,
        plain_name,
        read_keys,
        write_keys,
    )
    from brushcast.wire.pairing import accept, parse_invitation
    from brushcast.wire.sockets import open_context
    from brushcast.wire.zap import new_keys

    invitation = parse_invitation(line)
    folder = keys_folder()
    own = read_keys(folder / BRIDGE_KEY)
    if own is None:
        own = new_keys()
        write_keys(folder / BRIDGE_KEY, own)
    context = open_context()
    try:
        known_as = accept(
            invitation, context=context, keys=own, name=name or plain_name(socket.gethostname())
        )
    finally:
        context.term()
    address = str(invitation.worker)
    worker = KeyList(folder / WORKERS).add(
        Known(
            name=plain_name(invitation.worker.host),
            key=invitation.key,
            address=address,
            paired=datetime.date.today().isoformat(),
        )
    )
    result = {
        "name": worker.name,
        "worker": address,
        "known_as": known_as,
        "worker_key": fingerprint(worker.key),
        "own_key": fingerprint(own.public),
    }
    if as_json:
        click.echo(json.dumps(result))
        return
    click.echo(f"Paired with {worker.name}, which calls this machine {known_as}. Both show:")
    click.echo(f"  the worker's key    {result['worker_key']}")
    click.echo(f"  this machine's key  {result['own_key']}")
    click.echo(f"Now: brushcast run --worker {address}")


def _list(as_json: bool) -> None:
    from brushcast.wire.curve import WORKERS, KeyList, fingerprint

    rows = [
        {
            "name": one.name,
            "worker": one.address,
            "worker_key": fingerprint(one.key),
            "paired": one.paired,
        }
        for one in KeyList(keys_folder() / WORKERS).entries()
    ]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("paired with no worker")
    else:
        for row in rows:
            click.echo(f"{row['name']:<20} {row['worker']:<28} {row['worker_key']} {row['paired']}")


def _forget(name: str, as_json: bool) -> None:
    from brushcast.wire.curve import WORKERS, KeyList

    gone = KeyList(keys_folder() / WORKERS).remove(name)
    said = {"name": gone.name, "worker": gone.address}
    click.echo(json.dumps(said) if as_json else f"forgot {gone.name} ({gone.address})")


def _read_line() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("The line that `brushcast-worker pair` printed", err=True))
    return sys.stdin.readline(4096)
