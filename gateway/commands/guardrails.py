"""`gateway guardrails`: what policies do to texts, how long they take, and what a draft would change.

Works on the configuration file alone, beside a running gateway or without one; nothing is sent anywhere.
"""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from gateway import configfile
from gateway.accounts.contents import ContentFilter
from gateway.clock import now_ms
from gateway.commands import config_option, need_config
from gateway.commands.accounts import Session, run
from gateway.commands.place import Place
from gateway.config import PolicyEntry
from gateway.guardrails.bench import Benched, bench
from gateway.guardrails.book import Book
from gateway.guardrails.policy import Policy
from gateway.guardrails.replay import Replayed, Row, logged_rows, read_rows, replay
from gateway.guardrails.stage import GuardrailStage
from gateway.guardrails.trial import Trial, trial
from gateway.nearest import did_you_mean

_UNITS = {"h": 3_600_000, "d": 86_400_000}


@click.group()
def guardrails() -> None:
    """Guardrails: list, test, bench, replay."""


@guardrails.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(config: Path | None, as_json: bool) -> None:
    """List the policies, those that ship and those of the file."""
    book = _book(config)
    told = book.described()
    if as_json:
        click.echo(msgspec.json.encode({"policies": told}))
        return
    for policy in told:
        click.echo(f"{policy.name}  {policy.hash}  ({policy.source})  {policy.description}")
        for rule in policy.rules:
            click.echo(f"    {rule.name}: {rule.stage or 'both'}, {rule.action or 'as the guardrail says'}")


@guardrails.command()
@click.argument("text")
@config_option
@click.option("--policy", help="The policy: else the one of the configuration, or `default`.")
@click.option("--output", is_flag=True, help="Judge it as an answer, not as a request.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def test(text: str, config: Path | None, policy: str | None, output: bool, as_json: bool) -> None:
    """Say what a policy does to TEXT; `-` reads it from standard input. Exit status 1 says that it is blocked."""
    if text == "-":
        text = sys.stdin.read()
    chosen = _ready(_book(config), policy)
    told = asyncio.run(trial(chosen, text, is_input=not output))
    _show(told, _trial_lines(told), as_json)
    if told.blocked:
        raise SystemExit(1)


@guardrails.command("bench")
@config_option
@click.option("--policy", help="The policy: else the one of the configuration, or `default`.")
@click.option("--file", "file", type=click.File("rb"), help="A text of your own: else ordinary prose.")
@click.option("--characters", default=4096, show_default=True, help="How much of it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench_(config: Path | None, policy: str | None, file: BinaryIO | None, characters: int, as_json: bool) -> None:
    """Measure how long a policy's detectors take."""
    chosen = _ready(_book(config), policy, judges=True)
    text = file.read().decode("utf-8", "replace")[:characters] if file else ""
    told = asyncio.run(bench(chosen, text, characters=characters))
    _show(told, _bench_lines(told), as_json)


@guardrails.command("replay")
@config_option
@click.option("--policy", "draft", required=True, type=click.Path(path_type=Path), help="The draft: a YAML file.")
@click.option("--against", help="The live policy: else the one of the configuration, or `default`.")
@click.option("--file", "file", type=click.File("rb"), help="The texts: lines of JSON with `text` or `messages`.")
@click.option("--since", default="", help="Only what is at most so old: 7d, 12h.")
@click.option("--tenant", help="Without --file: only the requests of this tenant.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay_(
    config: Path | None, draft: Path, against: str | None, file: BinaryIO | None, since: str, tenant: str | None,
    as_json: bool,
) -> None:
    """Report what a draft of a policy would change, over texts of the past.

    Texts are those of requests and answers whose content was kept (`logging_policy: content`), or a file's: `{"text":
    "...", "direction": "input", "time": 1750000000000}` on each line, or `{"messages": [...], "response": "..."}`.
    """
    book = _book(config)
    live = _ready(book, against)
    entry = _draft(draft)
    book.entries[entry.name] = msgspec.structs.replace(entry, shadow_of=None)
    try:
        rows = read_rows(file, _since(since)) if file is not None else _logged(config, _since(since), tenant)
        told = asyncio.run(replay(live, _ready(book, entry.name), rows))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    _show(told, _replay_lines(told), as_json)


def _book(config: Path | None) -> Book:
    from gateway.registry import Registry

    loaded = configfile.load(need_config(config))
    plugins = Registry().build(loaded.config, loaded.lines)
    return next(member.plugin.book for member in plugins.members if isinstance(member.plugin, GuardrailStage))


def _logged(config: Path | None, since_ms: int, tenant: str | None) -> list[Row]:
    """The texts of exchanges whose content was kept; that they were read is in the audit."""
    file = need_config(config)
    settings = configfile.load_place(file)

    async def work(session: Session) -> list[Row]:
        who = msgspec.structs.replace(session.who, content_access=True)  # the master secret opens all of it
        which = ContentFilter(since=since_ms or None, tenant=tenant)
        kept = session.accounts.contents.all(who, session.origin, which, "guardrail replay")
        return [row async for each, said in kept for row in logged_rows(each.id, each.created, said)]

    rows = run(Place(settings, Path(settings.data_dir), file), work)
    if not rows:
        raise click.ClickException(
            "No content of requests and answers was kept. Set `logging_policy` of a tenant or key to `content`, or "
            "name a file of texts with --file: lines of JSON."
        )
    return rows


def _ready(book: Book, name: str | None, *, judges: bool = False) -> Policy:
    chosen = name or book.default or "default"
    if chosen not in book.entries:
        raise click.ClickException(f"there is no guardrail policy `{chosen}`{did_you_mean(chosen, book.entries)}")
    policy = book.together((chosen,))
    if not judges and (policy.input.judges or policy.output.judges):
        raise click.ClickException(
            f"the policy `{chosen}` asks services outside of the gateway: test it with POST /api/v1/guardrails/test"
        )
    return policy


def _draft(path: Path) -> PolicyEntry:
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=PolicyEntry)
    except (OSError, msgspec.DecodeError) as error:
        raise click.ClickException(f"{path} is no guardrail policy: {error}") from error


def _show(told: msgspec.Struct, lines: Iterable[str], as_json: bool) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode() if as_json else "\n".join(lines))


def _since(text: str) -> int:
    if not text:
        return 0
    if not text[:-1].isdigit() or text[-1] not in _UNITS:
        raise click.UsageError("--since takes days or hours: 7d, 12h.")
    return now_ms() - int(text[:-1]) * _UNITS[text[-1]]


def _trial_lines(told: Trial) -> Iterable[str]:
    yield f"policy {', '.join(told.policy)}: {'blocked' if told.blocked else 'passed'} in {told.latency_ms} ms"
    for each in told.triggered_guardrails:
        places = ", ".join(f"{at.kind or 'found'} at {at.start}-{at.end} ({at.score})" for at in each.spans)
        yield f"  {each.guardrail}: {each.action}: {places or each.error}"
    if not told.blocked and told.processed_text != told.original_text:
        yield told.processed_text


def _bench_lines(told: Benched) -> Iterable[str]:
    yield f"policy {', '.join(told.policy)}, {told.characters} characters, {told.rounds} texts"
    for each in (*told.guardrails, told.chain):
        yield f"  {each.name:32} p50 {each.p50_ms:8.3f} ms   p99 {each.p99_ms:8.3f} ms"
    waited = f"{told.first_chunk_held_back} chunks came before the first left"
    yield f"  {'stream':32} {told.stream_us_per_chunk:.2f} us a chunk; {waited}"


def _replay_lines(told: Replayed) -> Iterable[str]:
    yield f"{told.texts} texts"
    rows: list[tuple[str, Any]] = [("live", told.live), ("draft", told.draft)]
    for name, side in rows:
        counts = f"{side.blocked} blocked, {side.changed} changed, {side.warned} warned"
        yield f"  {name} ({', '.join(side.policy)}): {counts}"
        for rule, count in side.rules.items():
            yield f"      {rule}: {count}"
    yield f"  newly blocked {told.newly_blocked}, no longer {told.no_longer_blocked}"
    yield f"  changed otherwise {told.changed_otherwise}"
    for kind, lines in told.lines.items():
        yield f"      {kind.replace('_', ' ')}: {', '.join(map(str, lines))}"
