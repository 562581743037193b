"""`gateway explain`: what would happen to a request. Asks the running gateway, or works it out without one.

What is said of a request is found in `gateway.explain`; here is who is asked, and how the answer is shown.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import msgspec

from gateway import configfile
from gateway.commands import config_option, need_config
from gateway.config import Timeouts
from gateway.configfile import Loaded
from gateway.dispatch import PluginError
from gateway.errors import GatewayError, Unauthenticated, UpstreamUnreachable
from gateway.jsonbody import read_object
from gateway.problems import ConfigError
from gateway.secrets import scrub

Told = dict[str, Any]  # JSON, as `gateway.explain` made it

_TIMEOUTS: Final = Timeouts(connect=2.0, first_byte=10.0, idle=10.0)
_MAX_ANSWER: Final = 4 << 20
_HERE: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not bound
_NOT_OF_REQUESTS: Final = frozenset({"startup", "shutdown", "explain", "routes", "commands"})
_KNOWN: Final = frozenset({"plugin", "limit", "level", "name", "target", "would"})


@click.command()
@click.argument("request", required=False, type=click.File("rb"))
@click.option("--key", envvar="GATEWAY_KEY", required=True, help="An API key: else $GATEWAY_KEY, unseen by `ps`.")
@click.option("--model", help="The model to ask for, instead of the request's.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(request: BinaryIO | None, key: str, model: str | None, config: Path | None, as_json: bool) -> None:
    """Say what would happen to a request, without sending it.

    REQUEST is a file with the JSON body of a request, or - for standard input; without one a short chat is asked
    about. Nothing goes to a provider, nothing is counted. Exit status 1 says that it would be refused.
    """
    if not key.isascii() or not key.isprintable():
        raise click.UsageError("The value of --key has characters that no API key has.")
    if request is None and model is None:
        raise click.UsageError("Name a model with --model, or a file with a request.")
    try:
        raw = _body(request, model)
        told = asyncio.run(_told(configfile.load(need_config(config)), key, raw))
    except (ConfigError, PluginError, GatewayError) as error:
        raise click.ClickException(scrub(str(error).encode(), key).decode()) from error
    text = msgspec.json.format(msgspec.json.encode(told), indent=2).decode() if as_json else "\n".join(_lines(told))
    click.echo(scrub(text.encode(), key).decode())
    if told["would"] != "answer":
        raise SystemExit(1)


def _body(request: BinaryIO | None, model: str | None) -> bytes:
    if request is None:
        return msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": "Hello!"}]})
    raw = request.read()
    return raw if model is None else msgspec.json.encode(read_object(raw) | {"model": model})


async def _told(loaded: Loaded, key: str, raw: bytes) -> Told:
    """What `gateway.explain` says, with the `address` that was asked and whether a gateway is `running` there."""
    server = loaded.config.server
    host = server.host
    host = _HERE.get(host, f"[{host}]" if ":" in host else host)
    address = f"http://{host}:{server.port}"
    if server.port:  # else nobody but the gateway itself knows where it listens
        try:
            return {"address": address, "running": True, **await _asked(address, key, raw)}
        except UpstreamUnreachable:
            pass
    return {"address": address, "running": False, **await _worked_out(loaded, key, raw)}


async def _asked(address: str, key: str, raw: bytes) -> Told:
    """The running gateway's own answer: its counters are the true ones."""
    from gateway.hookspecs import HttpRequest
    from gateway.upstream import Peer, Upstream

    headers = (("authorization", f"Bearer {key}"), ("content-type", "application/json"))
    upstream = Upstream()
    try:
        peer = Peer(name="gateway", timeouts=_TIMEOUTS, allow_private=True)
        reply = await upstream.send(peer, HttpRequest("POST", f"{address}/api/v1/explain", headers, raw))
        status, body = reply.status, await reply.body(_MAX_ANSWER)
    finally:
        await upstream.close()
    try:
        told = read_object(body)
    except GatewayError:
        told = {}
    if status == 200 and "would" in told:
        return told
    error = told.get("error")
    if not isinstance(error, dict) or "message" not in error:
        raise click.ClickException(f"What answers at {address} is no AI Gateway (status {status}).")
    return _refused(status, error.get("code"), str(error["message"]))


async def _worked_out(loaded: Loaded, key: str, raw: bytes) -> Told:
    from gateway.commands.offline import offline
    from gateway.explain import explain as dry_run
    from gateway.service import check_plugins

    check_plugins(loaded)
    async with offline(loaded.config) as gateway:
        try:
            caller = await gateway.snapshot.plugins.authenticate({"authorization": f"Bearer {key}"})
            if caller is None:
                raise Unauthenticated("No plugin of this configuration knows this kind of key.")
            return await dry_run(gateway, caller, raw, read_object(raw))
        except GatewayError as error:
            return _refused(error.status, error.code, error.message)


def _refused(status: int, code: str | None, message: str) -> Told:
    return {"would": "refuse", "refusal": {"status": status, "code": code, "message": message}}


def _lines(told: Told) -> Iterator[str]:
    """One aligned block for each part that is known."""
    running = "running at" if told["running"] else "not running at"
    unused = "" if told["running"] else ": rate limits are shown unused, costs as the ledger has them"
    yield from _block("gateway", [(f"{running} {told['address']}{unused}",)])
    if "caller" in told:
        caller, model = told["caller"], told["model"]
        resolved = told.get("resolved_as", model)
        named = f"{model} (configured as {resolved})" if resolved != model else model
        yield from _block("request", [(f"{told['endpoint']}, model {named}",)])
        yield from _block("caller", [(f"key {caller['key_name'] or caller['key']}, tenant {caller['tenant']}",)])
        yield from _block("stages", [_stage(stage) for stage in told["stages"]])
        yield from _block("limits", [_limit(limit) for limit in told.get("limits", ())])
        yield from _block("targets", [_target(target) for target in told.get("targets", ())])
    yield from _block("verdict", [(_verdict(told),)])


def _block(title: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "".join(c if c.isprintable() else "?" for c in f"{'' if number else title:<9}{cells}".rstrip())


def _stage(stage: Mapping[str, Any]) -> tuple[str, str]:
    named = stage["use"] if stage["name"] == stage["use"] else f"{stage['use']} ({stage['name']})"
    return named, ", ".join(hook for hook in stage["hooks"] if hook not in _NOT_OF_REQUESTS)


def _limit(limit: Mapping[str, Any]) -> tuple[str, str, str, str]:
    level = f"{limit['level']} {limit.get('name', '')}" if "level" in limit else limit.get("target", "")
    return str(limit.get("limit")), level, _standing(limit), str(limit.get("would"))


def _standing(limit: Mapping[str, Any]) -> str:
    if "reserve" in limit:
        at = f" for {limit['target']}" if "target" in limit else ""
        return f"${limit['used']} of ${limit['max']} used; reserves ${limit['reserve']}{at}, leaves ${limit['left']}"
    if "max" in limit:
        return f"{limit.get('used', 0)} of {limit['max']} used; takes {limit.get('asks', 1)}"
    return ", ".join(f"{name} {value}" for name, value in limit.items() if name not in _KNOWN)


def _target(target: Mapping[str, Any]) -> tuple[str, str, str, str]:
    price, most = target["price"], target["output_tokens_at_most"]
    rates = f"${price['input']} in, ${price['output']} out per 1M tokens" if price else "no price is known"
    tokens = f"about {target['estimated_input_tokens']} in, " + ("any out" if most is None else f"at most {most} out")
    if "estimated_cost_at_most" in target:
        tokens += f": at most ${target['estimated_cost_at_most']}"
    elif price:
        tokens += f": ${target['estimated_input_cost']} and the output"
    return f"{target['provider']}/{target['model']}", rates, tokens, target["would"]


def _verdict(told: Told) -> str:
    if refusal := told.get("refusal"):
        code = f" {refusal['code']}" if refusal["code"] else ""
        return f"refused with {refusal['status']}{code}: {refusal['message']}"
    if told["would"] == "answer":
        target = next(target for target in told["targets"] if target["would"] == "pass")
        return f"answered by {target['provider']}/{target['model']}, unless a stage refuses the text"
    return f"refused by {', '.join(_refusers(told['limits']))}"


def _refusers(limits: Iterable[Mapping[str, Any]]) -> list[str]:
    """What refuses the request; where nothing does, what refuses its targets."""
    found = [limit for limit in limits if limit.get("would") == "refuse"]
    decisive = [limit for limit in found if "target" not in limit] or found
    return list(dict.fromkeys(f"{limit['plugin']} ({limit.get('limit')})" for limit in decisive))
