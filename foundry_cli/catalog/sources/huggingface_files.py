"""Which files of a Hugging Face repository are a model that ONNX Runtime GenAI can run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from foundry_cli.catalog.sources.huggingface_api import Repository
from foundry_cli.errors import InvalidRequestError, ModelInvalidError
from foundry_cli.remote import RemoteFile

CONFIG = "genai_config.json"
_DESCRIPTION = "inference_model.json"  # is written anew by whoever fetches the model
_UNWANTED = frozenset({".py", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".safetensors"})
_MOST_NAMED = 10  # folders, in a message
_BINARY = ".bin"
_CONTEXT_BINARIES = ("qnn", "openvino", "_ctx")  # parts of the names of files that providers have compiled


def model_folders(paths: Iterable[str]) -> list[str]:
    """The folders with `genai_config.json`, sorted; "" is the repository itself."""
    return sorted(_parent(path) for path in paths if PurePosixPath(path).name == CONFIG)


def choose_folder(repository: Repository, wanted: str | None) -> str:
    """The folder of the model: `wanted`, or the only one at or below it. "" is the repository itself.

    Raises `ModelInvalidError` when there is no model, `InvalidRequestError` when there are several.
    """
    folders = model_folders(file.path for file in repository.files)
    if wanted is None:
        fitting = folders
    elif wanted in folders:
        return wanted
    else:
        fitting = [folder for folder in folders if wanted and folder.startswith(f"{wanted}/")]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = _listed(fitting)
        hint = f"Name one of them: foundry model download hf:{repository.name}:{fitting[0] or '.'}"
        raise InvalidRequestError(f"hf:{repository.name} holds {len(fitting)} models: {names}.", hint=hint, param="model")
    if folders:
        hint = f"There are models in: {_listed(folders)}."
        raise InvalidRequestError(f"hf:{repository.name} has no model in the folder {wanted}.", hint=hint, param="model")
    raise _not_onnx(repository, f"has no {CONFIG}")


def _listed(folders: Sequence[str]) -> str:
    names = ", ".join(folder or "." for folder in folders[:_MOST_NAMED])
    return f"{names} and {len(folders) - _MOST_NAMED} more" if len(folders) > _MOST_NAMED else names


def choose_files(repository: Repository, folder: str) -> dict[str, RemoteFile]:
    """The files of the model in `folder` by their path in the repository; their own paths are relative to the folder.

    The licence of the repository goes along. Raises `ModelInvalidError` when there is no ONNX file among them.
    """
    others = [other for other in model_folders(file.path for file in repository.files) if other != folder]
    chosen = {
        file.path: RemoteFile(_relative(file.path, folder), file.size, file.sha256)
        for file in repository.files
        if _is_below(file.path, folder) and not _belongs_to_another(file.path, folder, others) and _is_wanted(file.path)
    }
    if not any(path.lower().endswith(".onnx") for path in chosen):
        raise _not_onnx(repository, f"has no .onnx file in the folder {folder or '.'}")
    if not any(_is_license(file.path) for file in chosen.values()):
        chosen.update((file.path, file) for file in repository.files if _is_license(file.path))
    return chosen


def _not_onnx(repository: Repository, reason: str) -> ModelInvalidError:
    return ModelInvalidError(
        f"hf:{repository.name} cannot be run as it is: it {reason}, as models for ONNX Runtime GenAI have.",
        hint=f"Convert it: foundry model convert hf:{repository.name} --output DIR",
    )


def _belongs_to_another(path: str, folder: str, others: Sequence[str]) -> bool:
    """Whether `path` lies in the folder of another model inside `folder`."""
    return any(_is_below(path, other) for other in others if _is_below(f"{other}/", folder))


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def _is_wanted(path: str) -> bool:
    """No code, no weights for other programs, none of which are needed and some of which can be harmful."""
    name, suffix = PurePosixPath(path).name.lower(), PurePosixPath(path).suffix.lower()
    if any(part.startswith(".") for part in PurePosixPath(path).parts) or name == _DESCRIPTION:
        return False
    return suffix not in _UNWANTED and (suffix != _BINARY or any(part in name for part in _CONTEXT_BINARIES))


def _is_license(path: str) -> bool:
    return "/" not in path and path.lower().startswith(("license", "licence"))


def _relative(path: str, folder: str) -> str:
    return path[len(folder) + 1 :] if folder else path


def _parent(path: str) -> str:
    parent = str(PurePosixPath(path).parent)
    return "" if parent == "." else parent
