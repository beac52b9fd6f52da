"""`foundry model bench`: how fast a model is on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundry_cli.cli import output
from foundry_cli.cli.options import Device, DeviceOption, ModelArgument, OutputOption
from foundry_cli.cli.output import Format, symbol

if TYPE_CHECKING:
    from rich.table import Table

    from foundry_cli.client.benchmark import Report
    from foundry_cli.client.client import ServiceClient
    from foundry_cli.types import ModelInfo

_BAR = 16  # columns
_UNLOAD_SECONDS = 2.0  # until the service has seen that the requests of an interrupted run are gone


def bench(
    model: ModelArgument,
    quick: Annotated[bool, typer.Option("--quick", help="Measure less, in a fraction of the time.")] = False,
    device: DeviceOption = Device.auto,
    output_format: OutputOption = Format.text,
) -> None:
    """Measure how fast a model is here: prefill, decode, several clients, long chats. Takes a minute or more."""
    from foundry_cli.cli.lifecycle import running_service
    from foundry_cli.cli.own_models import PhaseLine
    from foundry_cli.cli.resolution import check_writes, find_local_model
    from foundry_cli.client.benchmark import FULL, QUICK, Benchmark

    info = find_local_model(model, device.chosen)
    check_writes(info)
    client = running_service(output.note)
    with PhaseLine() as say:
        say("Loading the model", "")
        with _loaded(client, info):
            benchmark = Benchmark(client, info.id, QUICK if quick else FULL, info.context_length)
            report = benchmark.run(lambda step: say(step, ""))
            facts = _facts(client, info)
    if output_format is Format.json:
        output.document({**facts, **_fields(report)})
    else:
        _print(facts, report)


@contextmanager
def _loaded(client: ServiceClient, model: ModelInfo) -> Iterator[None]:
    """The model is loaded meanwhile, and unloaded afterwards unless it was there before or somebody else began to use it."""
    was_loaded = model.id in client.loaded_models()
    try:
        client.load(model.id)
        yield
    finally:
        if not was_loaded:
            _unload(client, model)


def _unload(client: ServiceClient, model: ModelInfo) -> None:
    import time

    from foundry_cli.errors import FoundryError, ModelInUseError

    deadline = time.monotonic() + _UNLOAD_SECONDS
    while True:
        try:
            client.unload(model.id)
            return
        except ModelInUseError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
        except FoundryError:  # is said where it happened
            return


def _facts(client: ServiceClient, model: ModelInfo) -> dict[str, Any]:
    """What the figures belong to."""
    from datetime import datetime, timezone

    from foundry_cli.hardware import detect_hardware

    machine = detect_hardware()
    loaded: dict[str, Any] = next((entry for entry in client.status()["loadedModels"] if entry["id"] == model.id), {})
    return {
        "model": model.id,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "version": client.record.version,
        "engine": loaded.get("engine"),
        "executionProvider": loaded.get("ep"),
        "cpu": machine.cpu.name,
        "physicalCores": machine.cpu.physical_cores,
        "memoryBytes": machine.memory_bytes,
    }


def _fields(report: Report) -> dict[str, Any]:
    """The figures as JSON."""
    turn = report.second_turn
    return {
        "depths": [
            {
                "depth": speed.depth,
                "promptTokens": speed.prompt_tokens,
                "cachedTokens": speed.cached_tokens,
                "prefillTokensPerSecond": round(speed.prefill, 1),
                "decodeTokensPerSecond": None if speed.decode is None else round(speed.decode, 1),
            }
            for speed in report.speeds
        ],
        "clients": [
            {"clients": load.clients, "tokensPerSecond": round(load.rate, 1), "firstTokenMs": round(load.first_ms, 1)}
            for load in report.loads
        ],
        "secondTurn": turn
        and {
            "promptTokens": turn.prompt_tokens,
            "cachedTokens": turn.cached_tokens,
            "firstTurnFirstTokenMs": round(turn.first_turn_ms, 1),
            "firstTokenMs": round(turn.second_turn_ms, 1),
        },
        "skipped": report.skipped,
    }


def _print(facts: dict[str, Any], report: Report) -> None:
    """The figures as tables with bars."""
    import sys

    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, markup=False)
    cores = facts["physicalCores"]
    output.line(f"{facts['model']} on {facts['cpu']}, {cores} {'core' if cores == 1 else 'cores'}")
    console.print(_speed_table(report))
    console.print(_load_table(report))
    if turn := report.second_turn:
        output.line(
            f"Second turn of a chat: first token after {_milliseconds(turn.second_turn_ms)}, in the first turn after "
            f"{_milliseconds(turn.first_turn_ms)}; {turn.cached_tokens:,} of {turn.prompt_tokens:,} tokens were there already."
        )
    for reason in report.skipped:
        output.note(f"Not measured: {reason}")


def _speed_table(report: Report) -> Table:
    table = _table("Depth", "Prefill tok/s", "", "Decode tok/s", "")
    most = (
        max((speed.prefill for speed in report.speeds), default=0.0),
        max((speed.decode or 0.0 for speed in report.speeds), default=0.0),
    )
    for speed in report.speeds:
        decode = speed.decode or 0.0
        shown = f"{decode:,.1f}" if speed.decode else "?"
        table.add_row(f"{speed.depth:,}", f"{speed.prefill:,.1f}", _bar(speed.prefill, most[0]), shown, _bar(decode, most[1]))
    return table


def _load_table(report: Report) -> Table:
    table = _table("Clients", "Total tok/s", "", "First token")
    most = max((load.rate for load in report.loads), default=0.0)
    for load in report.loads:
        table.add_row(str(load.clients), f"{load.rate:,.1f}", _bar(load.rate, most), _milliseconds(load.first_ms))
    return table


def _table(*titles: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    return table


def _bar(value: float, most: float) -> str:
    return (symbol("█") or "#") * (max(1, round(_BAR * value / most)) if value > 0 else 0)


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"
