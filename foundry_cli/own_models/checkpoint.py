"""Checkpoints as Hugging Face has them: a directory of this machine, or a repository that is fetched.

Only weights in safetensors files are taken, because the older formats are programs that run when they are read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundry_cli.embedding_config import MODULES, POOLING
from foundry_cli.errors import InvalidRequestError, LicenseNotAcceptedError, ModelInvalidError, OfflineError, SourceError
from foundry_cli.http import is_loopback, unreachable
from foundry_cli.own_models.phase import Say
from foundry_cli.store.manifest import read_object

CONFIG = "config.json"
_WANTED = ("*.json", "*.safetensors", "*.jinja", "tokenizer*", "*.model", "vocab*", "merges.txt", "LICENSE*", "README.md")
_REFERENCE = re.compile(r"(?:hf:)?(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_LARGEST_CONFIG = 16 << 20  # bytes


def checkpoint_name(source: str) -> str:
    """What a model made of `source` may be called."""
    reference = None if _is_directory(source) else _REFERENCE.fullmatch(source)
    return reference["repo"].partition("/")[2] if reference else Path(source).resolve().name


def check_source(source: str) -> None:
    """Raise `ModelInvalidError` when `source` is a directory of this machine that cannot be converted."""
    if _is_directory(source):
        check_files((path.name for path in Path(source).iterdir()), source)


def open_checkpoint(source: str, say: Say, *, is_offline: bool = False) -> Path:
    """The directory of a checkpoint; `[hf:]owner/repo[@revision]` is fetched into the cache of Hugging Face's own tools.

    Raises `InvalidRequestError`, `ModelInvalidError` for something that cannot be converted, `DownloadError` and its kinds.
    """
    if _is_directory(source):
        directory = Path(source).resolve()
    elif reference := _REFERENCE.fullmatch(source):
        directory = _fetch(reference["repo"], reference["revision"], say, is_offline=is_offline)
    else:
        raise InvalidRequestError(
            f"{source!r} is neither a directory nor the name of a repository.",
            hint="Give a directory, or owner/repo of Hugging Face.",
            param="source",
        )
    check_files((path.name for path in directory.iterdir()), source)
    if not read_object((directory / CONFIG).resolve(), _LARGEST_CONFIG):
        raise ModelInvalidError(f"{CONFIG} in {directory} is damaged.")
    _check_template(directory)
    return directory


def _check_template(directory: Path) -> None:
    """What a model of this program needs for chats, asked before the long work."""
    if makes_embeddings(directory):
        return
    tokenizer = read_object((directory / "tokenizer_config.json").resolve(), _LARGEST_CONFIG)
    if not (directory / "chat_template.jinja").exists() and not tokenizer.get("chat_template"):
        raise ModelInvalidError(
            f"There is no chat template in {directory}, so the model could not be talked to.",
            hint="Convert its variant for chats ('instruct'), or put a chat_template.jinja into a copy of the directory.",
        )


def makes_embeddings(directory: Path) -> bool:
    """Whether the checkpoint in `directory` is one of Sentence Transformers."""
    return (directory / MODULES).is_file()


def embedding_files(directory: Path) -> list[str]:
    """The files by which Sentence Transformers makes embeddings of it, relative with `/`."""
    names = (MODULES, f"{POOLING}/config.json", "config_sentence_transformers.json")
    return [name for name in names if _is_plain(directory / name)]


def _is_plain(path: Path) -> bool:
    """Whether it is a file of the checkpoint: a link could lead to anything, but in Hugging Face's cache every file is one."""
    return path.is_file() and (not path.is_symlink() or path.resolve().parent.name == "blobs")


def _is_directory(source: str) -> bool:
    return not source.startswith("hf:") and Path(source).is_dir()


def check_files(names: Iterable[str], source: str) -> None:
    """Raise `ModelInvalidError` unless the files called `names` are a checkpoint that can be converted."""
    found = set(names)
    if "genai_config.json" in found or any(name.endswith(".onnx") for name in found):
        raise ModelInvalidError(
            f"{source} is an ONNX model already.",
            hint="'foundry model add DIRECTORY' adds one, 'foundry model download hf:owner/repo' fetches one.",
        )
    if CONFIG in found and any(name.endswith(".safetensors") for name in found):
        return
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in found):
        raise ModelInvalidError(
            f"The weights of {source} are pickle files, which can run any program when they are read; they are not converted.",
            hint="Look for a repository of the same model with .safetensors files.",
        )
    if any(name.endswith(".gguf") for name in found):
        raise ModelInvalidError(
            f"{source} has weights in GGUF files only, which are not converted.",
            hint="Convert the original model they were made from.",
        )
    missing = "config.json" if CONFIG not in found else "file with weights (*.safetensors)"
    raise ModelInvalidError(f"{source} is no checkpoint: there is no {missing}.")


def _fetch(repo: str, revision: str | None, say: Say, *, is_offline: bool) -> Path:
    """The snapshot of a repository; without network the one that was fetched before."""
    from huggingface_hub import HfApi, constants, snapshot_download

    is_cut_off = is_offline and not is_loopback(constants.ENDPOINT)
    with _translated(repo, constants.ENDPOINT):
        if not is_cut_off:
            files = HfApi().model_info(repo, revision=revision).siblings or []
            check_files((file.rfilename for file in files), repo)
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(_WANTED),
                local_files_only=is_cut_off,
                tqdm_class=_reporting_bar(say),
                library_name="foundry-cli",
            )
        )


def _reporting_bar(say: Say) -> type[Any]:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        """Tells the bytes that have come, and shows nothing itself."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*arguments, **{**options, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self.unit == "B" and self.total:
                say("Fetching the checkpoint", f"{self.n / (1 << 20):.0f} of {self.total / (1 << 20):.0f} MB")
            return shown

    return Bar


@contextmanager
def _translated(repo: str, endpoint: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise LicenseNotAcceptedError(
            f"{repo} is given only to those who accept its licence.",
            hint=f"Accept it on {endpoint}/{repo}, and set HF_TOKEN to a token of yours.",
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise SourceError(
            f"There is no repository or revision {repo} on {endpoint}.", hint="A private one needs a token in HF_TOKEN."
        ) from error
    except errors.HFValidationError as error:
        raise InvalidRequestError(f"{repo!r} cannot be a repository.", param="source") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise OfflineError(
            f"{repo} is not on this machine, and the network is switched off or does not work.",
            hint="Unset FOUNDRY_OFFLINE, or give a directory.",
        ) from error
    except errors.HfHubHTTPError as error:
        raise SourceError(f"{endpoint} answers with status {error.response.status_code}.") from error
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # httpx's or httpx2's, by the version
        raise unreachable(endpoint, error) from error
