"""Plug-in provider libraries: found in installed packages, by the convention that ONNX Runtime asks of them.

Such a package is called `onnxruntime_…`, and has `get_library_path()` and `get_ep_name()` or `get_ep_names()`.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.errors import ModelInvalidError

_PREFIX = "onnxruntime_"
_OTHERS = ("onnxruntime_genai", "onnxruntime_extensions")  # have no provider, and take long to import


@dataclass(frozen=True)
class ProviderLibrary:
    """The library of one provider. `fault`: why the package could not say where it is; the path is "" then."""

    package: str
    provider: str
    path: str
    fault: str = ""


def provider_libraries() -> Iterator[ProviderLibrary]:
    """All that installed packages bring."""
    for module in sorted(found.name for found in pkgutil.iter_modules()):
        if module.startswith(_PREFIX) and module not in _OTHERS:
            yield from _libraries_of(module)


def register_library(provider: str, register: Callable[[str, str], None]) -> None:
    """Make `provider` known to the runtime by its function `register`, if it comes as a plug-in. Raises what that raises."""
    for library in provider_libraries():
        if library.provider == provider and not library.fault:
            register(provider, library.path)
            return


def _libraries_of(module: str) -> Iterable[ProviderLibrary]:
    try:
        package = importlib.import_module(module)
        if not hasattr(package, "get_library_path"):
            return []
        names = package.get_ep_names() if hasattr(package, "get_ep_names") else [package.get_ep_name()]
        path = str(package.get_library_path())
    except Exception as error:  # noqa: BLE001 - code of third parties: whatever it raises, the others must still be found
        return [ProviderLibrary(module, "", "", f"{type(error).__name__}: {error}")]
    return [ProviderLibrary(module, str(name), path) for name in names]


_PATH_OPTION = ("path", "dir", "file", "library", "folder")


def check_provider_options(directory: Path) -> None:
    """Raise `ModelInvalidError` when the options of a provider lead out of the libraries: to other code or other folders."""
    config = json.loads((directory / "genai_config.json").read_bytes())
    for name, value in _options(config):
        if name.endswith(_PATH_OPTION) and isinstance(value, str) and ("/" in value or "\\" in value):
            raise ModelInvalidError(
                f"genai_config.json sets the provider option {name!r} to a path, which models may not do here."
            )


def _options(value: object, is_inside: bool = False) -> Iterator[tuple[str, object]]:
    """Every name with its value below any `provider_options`."""
    if isinstance(value, list):
        for item in value:
            yield from _options(item, is_inside)
    elif isinstance(value, dict):
        for name, item in value.items():
            if is_inside:
                yield name, item
            yield from _options(item, is_inside or name == "provider_options")
