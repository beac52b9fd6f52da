"""`foundry hardware`: what the machine has, and which of it can run models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foundry_cli.cli import output
from foundry_cli.cli.options import OutputOption
from foundry_cli.cli.output import Format

if TYPE_CHECKING:
    from foundry_cli.execution_providers import ProviderReport
    from foundry_cli.hardware import Device, Hardware

_WIDTH, _INDENT = 80, 11


def show_hardware(output_format: OutputOption = Format.text) -> None:
    """Show processor, devices and execution providers."""
    from foundry_cli.execution_providers import provider_report
    from foundry_cli.hardware import detect_hardware
    from foundry_cli.paths import Paths

    machine, report = detect_hardware(), provider_report(Paths.from_environment(), refresh=True)
    if output_format is Format.json:
        output.document(fields(machine, report))
    else:
        print_hardware(machine, report)


def print_hardware(machine: Hardware, report: ProviderReport) -> None:
    """The description for people, in 80 columns."""
    from foundry_cli.execution_providers import installable_providers

    cpu = machine.cpu
    sets = f": {', '.join(cpu.instruction_sets)}" if cpu.instruction_sets else ""
    _entry("CPU", cpu.name, f"{cpu.physical_cores} cores ({cpu.logical_cores} threads) for models, {cpu.architecture}{sets}")
    _entry("Memory", output.gigabytes(machine.memory_bytes))
    for kind in ("GPU", "NPU"):
        devices = [device for device in machine.devices if device.kind == kind]
        for device in devices:
            _entry(kind, device.name, *_details(device))
        if not devices:
            _entry(kind, "none found")
    output.line()
    output.line("Execution providers")
    for name in report.names:
        _entry("  works", name)
    for note in report.notes:
        _entry("  fails", note)
    for provider in installable_providers(report, machine):
        _entry("  missing", f"{provider.name}: install {provider.package}")


def _details(device: Device) -> list[str]:
    memory = f"{output.gigabytes(device.memory_bytes)} of its own memory" if device.memory_bytes else ""
    driver = f"driver {device.driver}" if device.driver else "no driver found"
    return [text for text in (memory, driver, device.note) if text]


def _entry(label: str, *lines: str) -> None:
    """A label, and beside it the lines, wrapped."""
    from textwrap import wrap

    wrapped = [part for text in lines for part in wrap(text, _WIDTH - _INDENT, break_on_hyphens=False)]
    for index, text in enumerate(wrapped):
        output.line(f"{label if index == 0 else '':<{_INDENT}}{text}")


def fields(machine: Hardware, report: ProviderReport) -> dict[str, Any]:
    """The description as JSON."""
    from foundry_cli.execution_providers import installable_providers

    cpu = machine.cpu
    return {
        "platform": machine.platform,
        "cpu": {
            "name": cpu.name,
            "vendor": cpu.vendor,
            "architecture": cpu.architecture,
            "physicalCores": cpu.physical_cores,
            "logicalCores": cpu.logical_cores,
            "instructionSets": list(cpu.instruction_sets),
        },
        "memoryBytes": machine.memory_bytes,
        "devices": [
            {
                "type": device.kind,
                "vendor": device.vendor,
                "name": device.name,
                "memoryBytes": device.memory_bytes,
                "driver": device.driver or None,
                "note": device.note or None,
            }
            for device in machine.devices
        ],
        "validEps": list(report.names),
        "epNotes": list(report.notes),
        "missingEps": [{"name": p.name, "install": p.package} for p in installable_providers(report, machine)],
    }
