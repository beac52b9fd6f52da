"""`foundry status`, and what `foundry report` is made of: machine, service and models at a glance, without the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foundry_cli import __version__
from foundry_cli.cli import output
from foundry_cli.cli.options import OutputOption
from foundry_cli.cli.output import Format

if TYPE_CHECKING:
    from pathlib import Path

    from foundry_cli.catalog.catalog import Catalog
    from foundry_cli.config import Config
    from foundry_cli.hardware import Hardware
    from foundry_cli.inventory import Inventory
    from foundry_cli.paths import Paths


def show_status(output_format: OutputOption = Format.text) -> None:
    """Show machine, service and models at a glance."""
    from foundry_cli.config import load_config
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    found = overview(paths, load_config(paths))
    if output_format is Format.json:
        output.record(found)
        return
    for title, facts in sections(found).items():
        output.line(title)
        for name, value in facts.items():
            output.line(f"  {name:<20}{value}")
    for warning in found["warnings"]:
        output.line(f"Warning: {warning}")


def overview(paths: Paths, config: Config) -> dict[str, Any]:
    """All of it as JSON. No name of a person, a machine, a directory or a model is in it."""
    from foundry_cli.inventory import open_inventory

    inventory = open_inventory(paths, config)
    models = inventory.models()
    service, loaded = _service(paths)
    return {
        "system": _system(config.cache_path(paths)),
        "service": service,
        "models": {"available": len(models), "loaded": loaded, "cached": sum(model.is_cached for model in models)},
        "connectivity": {
            "localService": "reachable" if service["ready"] else "not_reachable",
            "modelRegistry": _registry(inventory.catalog, is_offline=config.is_offline),
        },
        "warnings": _warnings(service["state"], inventory, is_offline=config.is_offline),
    }


def _system(cache: Path) -> dict[str, Any]:
    import platform

    import psutil

    from foundry_cli.hardware import detect_hardware

    machine = detect_hardware()
    return {
        "os": platform.platform(),
        "architecture": machine.cpu.architecture,
        "cpu": f"{machine.cpu.name}, {machine.cpu.physical_cores} cores",
        "gpu": _devices(machine, "GPU"),
        "npu": _devices(machine, "NPU"),
        "ramBytes": machine.memory_bytes,
        "ramFreeBytes": psutil.virtual_memory().available,
        "diskFreeBytes": _free_bytes(cache),
        "python": platform.python_version(),
    }


def _devices(machine: Hardware, kind: str) -> list[str]:
    return [device.name for device in machine.devices if device.kind == kind]


def _free_bytes(directory: Path) -> int | None:
    """Of the disk of `directory`, or of the directory above it that exists; None when nobody can tell."""
    import shutil

    existing = next((each for each in (directory, *directory.parents) if each.exists()), None)
    try:
        return shutil.disk_usage(existing).free if existing else None
    except OSError:
        return None


def _service(paths: Paths) -> tuple[dict[str, Any], int]:
    """What is known about the service, and how many models it has loaded."""
    from foundry_cli.cli.service_status import silent_fields
    from foundry_cli.client.supervisor import find_service
    from foundry_cli.config import LOOPBACK_HOSTS
    from foundry_cli.diagnostics import package_versions

    client = find_service(paths)
    record = client.record if client else None
    fields = {
        "ready": client is not None,
        "state": "ready" if client else silent_fields(paths)["state"],
        "webUrls": [record.base_url] if record and record.host in LOOPBACK_HOSTS else [],  # others tell where a machine is
        "version": record.version if record else None,
        "cliVersion": __version__,
        "runtime": package_versions("onnxruntime-genai", "onnxruntime"),
    }
    return fields, len(client.loaded_models()) if client else 0


def _registry(catalog: Catalog, *, is_offline: bool) -> str:
    """What is known from the last time that catalogs were asked: nobody is asked for this."""
    from foundry_cli.cli.inventory import age_text

    states = [source.state() for source in catalog.sources]
    ages = [age_text(state.refreshed) for state in states if state.refreshed is not None]
    known = f"lists of catalogs are {', '.join(ages)} old" if ages else "no list of a catalog is here"
    return f"switched off; {known}" if is_offline else f"not asked now; {known}"


def _warnings(state: str, inventory: Inventory, *, is_offline: bool) -> list[str]:
    failing = 0 if is_offline else sum(bool(source.state().problem) for source in inventory.catalog.sources)
    candidates = {
        "The service holds its lock and does not answer.": state == "not_answering",
        "The cache directory cannot be used; 'foundry cache list' says why.": inventory.cache_problem() is not None,
        f"{failing} of the catalogs could not be asked; 'foundry catalog list' says why.": bool(failing),
    }
    return [text for text, is_true in candidates.items() if is_true]


def sections(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    """`overview` for people, in the sections and under the names that the original uses."""
    from foundry_cli.cli.service_status import STATES

    system, service, models, connectivity = (found[key] for key in ("system", "service", "models", "connectivity"))
    free = system["diskFreeBytes"]
    return {
        "System": {
            "OS": system["os"],
            "Architecture": system["architecture"],
            "CPU": system["cpu"],
            "GPU": ", ".join(system["gpu"]) or "none",
            "NPU": ", ".join(system["npu"]) or "none",
            "RAM": f"{output.gigabytes(system['ramBytes'])}, {output.gigabytes(system['ramFreeBytes'])} free",
            "Disk": "unknown" if free is None else f"{output.gigabytes(free)} free",
            "Python": system["python"],
        },
        "Service": {
            "State": STATES[service["state"]],
            "Web URLs": ", ".join(service["webUrls"]) or "none",
            "CLI version": service["cliVersion"],
            "Service version": service["version"] or "-",
            "Runtime": service["runtime"],
        },
        "Models": {
            "Available variants": str(models["available"]),
            "Loaded": str(models["loaded"]),
            "Cached": str(models["cached"]),
        },
        "Connectivity": {
            "Local service": "Reachable" if service["ready"] else "Not reachable",
            "Model registry": connectivity["modelRegistry"],
        },
    }
