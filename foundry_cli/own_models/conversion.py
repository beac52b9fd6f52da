"""From a checkpoint to a model folder: built beside its place, checked there, and put in place by a rename."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from foundry_cli.errors import CacheError, DownloadCancelledError, FoundryError, InvalidRequestError
from foundry_cli.own_models.builder import ModelBuilder
from foundry_cli.own_models.checking import ModelFacts, check_model
from foundry_cli.own_models.checkpoint import checkpoint_name, embedding_files, makes_embeddings
from foundry_cli.own_models.identity import Identity, has_own_name
from foundry_cli.own_models.licence import licence_files
from foundry_cli.own_models.phase import Say
from foundry_cli.own_models.unfinished import discard, empty
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.manifest import StoredFile
from foundry_cli.store.model_folder import CONFIG, write_descriptions
from foundry_cli.types import ModelInfo

Check = Callable[[Path], ModelFacts]
_REPLACED = "replaced"  # the older model, below the directory of the work


@dataclass(frozen=True)
class Conversion:
    """What is to be made. `device` and `precision` as in `builder.PRECISIONS`."""

    output: Path
    identity: Identity
    precision: str
    device: str
    is_replacing: bool = False  # an older model in `output` goes


def suggest_name(source: str, output: Path) -> str:
    """What the model may be called when nobody says it: as the directory it is put into, or as its source."""
    folder = Path(os.path.abspath(output))
    return folder.name if has_own_name(folder) else checkpoint_name(source)


def check_output(output: Path, *, is_replacing: bool) -> None:
    """Raise `InvalidRequestError` unless a model may be put at `output`. Only a model folder is ever replaced."""
    if not os.path.lexists(output):
        return
    if output.is_symlink() or not output.is_dir():
        raise InvalidRequestError(f"{output} is there already and is no directory.", param="output")
    if not any(output.iterdir()):
        return
    if not (output / CONFIG).is_file():
        raise InvalidRequestError(f"The directory {output} is not empty.", hint="Give another --output.", param="output")
    if not is_replacing:
        raise InvalidRequestError(
            f"There is a model in {output} already.", hint="Give another --output, or --force to replace it.", param="output"
        )


def convert(
    conversion: Conversion, checkpoint: Path, builder: ModelBuilder, say: Say, check: Check = check_model
) -> ModelFacts:
    """Build, check and describe the model; when it fails or is interrupted, `output` is as before.

    Raises `InvalidRequestError` for the place, `FoundryError` for the builder, and what the check found.
    """
    output = Path(os.path.abspath(conversion.output))
    check_output(output, is_replacing=conversion.is_replacing)
    with _work_directory(output) as work:
        check_output(output, is_replacing=conversion.is_replacing)  # again: now no other process is at it
        made = work / "model"
        embeds = makes_embeddings(checkpoint)
        builder.build(checkpoint, made, conversion.precision, conversion.device, say, embeds=embeds)
        say("Checking the model", "")
        try:
            for path in licence_files(checkpoint):
                shutil.copyfile(path, made / path.name)
            for name in embedding_files(checkpoint):
                (made / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(checkpoint / name, made / name)
            _describe(made, conversion.identity)
            facts = check(made)
            _put_in_place(made, output, work)
        except FoundryError as error:  # its directory is gone when it is read
            message = error.message.replace(str(made), str(output))
            raise type(error)(message, hint=error.hint, param=error.param) from error
        except OSError as error:
            raise FoundryError(f"{error.filename or output} cannot be written: {error.strerror}.") from error
    return replace(facts, folder=output, untried=facts.untried.replace(str(made), str(output)))


def _describe(folder: Path, identity: Identity) -> None:
    """Write inference_model.json, which gives the model its name wherever the folder is put."""
    write_descriptions(folder, ModelInfo(identity.name, identity.version, identity.alias), [StoredFile(CONFIG, 0, "")])


@contextlib.contextmanager
def _work_directory(output: Path) -> Iterator[Path]:
    """A directory beside `output`, of this process alone, which is gone at the end, with the parents that were made for it."""
    made = [parent for parent in output.parents if not parent.exists()]
    work = output.with_name(f".{output.name}.converting")
    lock = _lock(work, output)
    try:
        _clear(work, output)
        yield work
    finally:
        discard(work, lock)
        with contextlib.suppress(OSError):  # they are not empty when the model is there
            for parent in made:
                parent.rmdir()


def _lock(work: Path, output: Path) -> DownloadLock:
    """Make `work` and hold it. Raises `InvalidRequestError` when another process does, or when it cannot be made."""
    lock, is_busy = DownloadLock(work), threading.Event()
    try:
        is_held = lock.acquire(is_busy, lambda _: is_busy.set())
    except DownloadCancelledError:
        is_held = False
    except CacheError as error:
        raise InvalidRequestError(f"{output} cannot be made: {error.message}", param="output") from error
    if not is_held:
        raise InvalidRequestError(
            f"Another process is making a model in {output}.",
            hint="Wait for its end, or give another --output.",
            param="output",
        )
    return lock


def _clear(work: Path, output: Path) -> None:
    """Remove what a conversion left that was killed; an older model that it was just replacing comes back."""
    with contextlib.suppress(OSError):  # there is none, or a directory with files is at its place
        os.rename(work / _REPLACED, output)
    empty(work)


def _put_in_place(made: Path, output: Path, work: Path) -> None:
    check_output(output, is_replacing=True)
    if output.exists():
        os.rename(output, work / _REPLACED)
    os.rename(made, output)
