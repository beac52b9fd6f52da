"""Moving the models of a cache to another directory: copy, verify, and after the switch delete the old ones.

Until the caller has switched to the new directory nothing is changed in the old one, so an interrupted move loses nothing,
and the next one goes on with the models that are not there yet.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from foundry_cli.errors import CacheError, FoundryError, IntegrityError, InvalidRequestError, ModelInUseError
from foundry_cli.store.cache import INCOMPLETE_MARKER, check_writable, is_inside, other_models, plain_files, scan
from foundry_cli.store.cache_marker import MARKER
from foundry_cli.store.copying import Progress, Report, check_room, copied_bytes, copy_file, digest_file
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.manifest import MANIFEST, first_problem, read_manifest
from foundry_cli.store.ownership import all_paths, foreign_files, has_list
from foundry_cli.store.plain_file import is_plain
from foundry_cli.store.removal import RemovalPlan, no_download, plan_removal, remove, remove_if_empty, trash_folders
from foundry_cli.types import ModelInfo, split_model_id

_CATALOG_LIST = "foundry.modelinfo.json"


Copied = dict[Path, dict[str, tuple[int, int]]]
"""Size and time of the files that were copied, by folder and path in it."""


@dataclass(frozen=True)
class MovePlan:
    """What a move will copy, and what stays behind because it holds links, as sentences."""

    source: Path
    destination: Path
    items: tuple[RemovalPlan, ...]
    left: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of all that is copied."""
        return sum(item.size_bytes for item in self.items)


def plan_move(cache: Path, destination: Path) -> MovePlan:
    """The plan for everything in `cache`, downloads that are not finished included.

    Raises `InvalidRequestError` when one directory is inside the other, `ModelInUseError` during a download, `CacheError`
    and `DiskFullError`.
    """
    _check_apart(cache, destination)
    found = scan(cache)
    models = [*found.models, *(_model_of(partial.id, partial.root) for partial in found.partials)]
    plans = [_with_unknown_files(plan_removal(model, cache)) for model in models]
    kept = {plan.directory: problem for plan in plans if (problem := _link_in(plan) or _lock_problem(plan))}
    items = tuple(plan for plan in plans if plan.directory not in kept)
    for item in items:
        with no_download(item.model.id, item.directory):
            _check_target(item, destination / item.directory.relative_to(cache))
    check_writable(destination)
    plan = MovePlan(cache, destination, items, (*found.problems, *kept.values()))
    needed = sum(item.size_bytes - _copied_bytes(item, plan) for item in items if not _is_there(item, plan))
    check_room(needed, destination, _sample(items))
    return plan


def copy_models(plan: MovePlan, report: Report | None = None, cancelled: threading.Event | None = None) -> Copied:
    """Copy everything and compare the copies; `report` gets bytes done and in total. Returns what the sources were then.

    Raises `IntegrityError`, `DiskFullError`, `CacheError`, `ModelInUseError`, `DownloadCancelledError`.
    """
    total, done = plan.size_bytes, 0
    copied: Copied = {}

    def progress(count: int) -> None:
        nonlocal done
        done += count
        if report:
            report(done, total)

    for item in plan.items:
        copied[item.directory] = {path: _stamp(status) for path, status in _own_files(item)}
        if _is_there(item, plan):
            progress(item.size_bytes)
        else:
            _copy_model(item, _target(item, plan), progress, cancelled)
    if _is_newer(plan.source / _CATALOG_LIST, plan.destination / _CATALOG_LIST):
        copy_file(plan.source / _CATALOG_LIST, plan.destination / _CATALOG_LIST)
    return copied


def delete_moved(plan: MovePlan, copied: Copied) -> list[str]:
    """Delete what was copied, after the switch; what stays, as sentences: what has changed or come since, for example."""
    problems = _arrived_since(plan)
    for item in plan.items:
        if added := _added_since(item, _target(item, plan)):
            problems.append(f"{item.directory} stays where it is, because {added} came into it meanwhile.")
            continue
        if changed := _changed_since(item, copied[item.directory]):
            problems.append(
                f"{item.directory} stays where it is, because {changed} in it was changed meanwhile; "
                f"the copy in {_target(item, plan)} is older."
            )
            continue
        try:
            remove(item, plan.source)
        except FoundryError as error:  # Windows keeps files that are in use
            problems.append(error.message)
    problems += [f"{folder} could not be deleted; nothing of it is needed any more." for folder in trash_folders(plan.source)]
    for name in (_CATALOG_LIST, MARKER):
        with contextlib.suppress(OSError):
            (plan.source / name).unlink()
    remove_if_empty(plan.source)
    return problems


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _changed_since(item: RemovalPlan, copied: Mapping[str, tuple[int, int]]) -> str:
    """The first file that is not any more what was copied; "" when there is none. One that has gone is no loss."""
    return next((path for path, status in _own_files(item) if copied.get(path, _stamp(status)) != _stamp(status)), "")


def _arrived_since(plan: MovePlan) -> list[str]:
    """Sentences about models that came into the old directory after the plan was made."""
    known = {item.directory for item in plan.items}
    try:
        found = scan(plan.source)
    except CacheError as error:
        return [error.message]
    arrived = [(model.id, model.root) for model in found.models if model.root and model.root not in known]
    arrived += [(partial.id, partial.root) for partial in found.partials if partial.root not in known]
    return [
        f"{model_id} came into {plan.source} meanwhile and stays there: 'foundry cache import {plan.source}' takes it over."
        for model_id, root in arrived
        if all(str(root) not in sentence for sentence in plan.left)
    ]


def _lock_problem(item: RemovalPlan) -> str:
    """Why nobody can say whether a download goes on in a folder; "" for the usual case."""
    try:
        with no_download(item.model.id, item.directory):
            return ""
    except CacheError as error:
        return f"{item.directory} stays where it is. {error.message}"


def _check_apart(cache: Path, destination: Path) -> None:
    old, new = Path(os.path.realpath(cache)), Path(os.path.realpath(destination))
    if old == new:
        raise InvalidRequestError(f"The models are in {destination} already.")
    if old in new.parents or new in old.parents:
        raise InvalidRequestError(f"{destination} and the cache directory {cache} are one inside the other.")


def _model_of(model_id: str, root: Path) -> ModelInfo:
    name, version = split_model_id(model_id)
    return ModelInfo(name, version or 0, name, root=root)


def _with_unknown_files(item: RemovalPlan) -> RemovalPlan:
    """The folder as a whole, where it is not written down what the model needs: it could miss what stays behind."""
    root = item.directory
    if has_list(root) or is_plain(root / INCOMPLETE_MARKER) or is_plain(root / MANIFEST):
        return item
    others = other_models(root, ())
    foreign = tuple(sorted(path for path in item.foreign if is_inside(path, others)))
    size = sum(status.st_size for path, status in plain_files(root) if not is_inside(path, others))
    return replace(item, foreign=foreign, size_bytes=size, is_whole=not others)


def _added_since(item: RemovalPlan, target: Path) -> str:
    """The first file of a folder that moves as a whole and was not copied; "" when there is none."""
    paths = sorted(all_paths(item.directory)) if item.is_whole else []
    return next((path for path in paths if not os.path.lexists(target / path)), "")


def _is_newer(source: Path, target: Path) -> bool:
    if not is_plain(source):
        return False
    return not os.path.lexists(target) or source.stat().st_mtime_ns > os.lstat(target).st_mtime_ns


def _link_in(item: RemovalPlan) -> str:
    """Why a folder is not moved: a copy would not be the same; "" for the usual case."""
    for path in all_paths(item.directory):
        if path not in item.foreign and not stat.S_ISREG(os.lstat(item.directory / path).st_mode):
            return f"{item.directory} stays where it is, because {path} in it is a link or no plain file."
    return ""


def _own_files(item: RemovalPlan) -> Iterator[tuple[str, os.stat_result]]:
    """The files to copy, the manifest last: with it the copy is a model."""
    files = [(path, status) for path, status in plain_files(item.directory) if path not in item.foreign]
    return iter(sorted(files, key=lambda entry: (entry[0] == MANIFEST, entry[0])))


def _target(item: RemovalPlan, plan: MovePlan) -> Path:
    return plan.destination / item.directory.relative_to(plan.source)


def _check_target(item: RemovalPlan, target: Path) -> None:
    """Raise `CacheError` when the new place holds something else under that name."""
    if not os.path.lexists(target) or (is_plain(target / INCOMPLETE_MARKER) and not _overwritten(item, target)):
        return
    if not _is_same(item, target):
        what = _overwritten(item, target) or "something else"
        hint = "Move it away, or choose another directory."
        raise CacheError(f"{item.model.id} is not moved: there is {what} in {target} already.", hint=hint)


def _overwritten(item: RemovalPlan, target: Path) -> str:
    """The first file of somebody else in `target` that a copy would replace by other bytes; "" when there is none."""
    foreign = foreign_files(target)
    for path, _ in _own_files(item):
        if path in foreign and not _are_same_bytes(item.directory / path, target / path):
            return path
    return ""


def _are_same_bytes(one: Path, other: Path) -> bool:
    try:
        return digest_file(one).sha256 == digest_file(other).sha256
    except CacheError:  # a link, or what cannot be read
        return False


def _is_there(item: RemovalPlan, plan: MovePlan) -> bool:
    target = _target(item, plan)
    return target.is_dir() and not is_plain(target / INCOMPLETE_MARKER) and _is_same(item, target)


def _copied_bytes(item: RemovalPlan, plan: MovePlan) -> int:
    return sum(copied_bytes(_target(item, plan) / path, status.st_size) for path, status in _own_files(item))


def _is_same(item: RemovalPlan, target: Path) -> bool:
    """Whether an earlier move has brought the model to `target`."""
    manifest = read_manifest(item.directory)
    if manifest is not None:
        return read_manifest(target) == manifest and not first_problem(target, manifest)
    with contextlib.suppress(FoundryError):
        files = [path for path, _ in _own_files(item)]
        return all(digest_file(target / path) == digest_file(item.directory / path) for path in files)
    return False


def _copy_model(item: RemovalPlan, target: Path, progress: Progress, cancelled: threading.Event | None) -> None:
    """Copy one folder; as long as it is not whole, the copy has the marker of a download."""
    is_partial = is_plain(item.directory / INCOMPLETE_MARKER)
    lock = DownloadLock(target)
    with no_download(item.model.id, item.directory):
        if not lock.acquire(cancelled or threading.Event(), lambda _: None):
            raise ModelInUseError(f"Another process works on {target}.", hint="Try again when it has ended.")
        try:
            _copy_files(item, target, progress, cancelled)
            status = item.directory.stat()
            if not is_partial:
                lock.complete()
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))  # it says since when the model is here
        finally:
            lock.release()


def _copy_files(item: RemovalPlan, target: Path, progress: Progress, cancelled: threading.Event | None) -> None:
    manifest = read_manifest(item.directory)
    digests = {file.path: file.sha256 for file in manifest.files} if manifest and not item.model.problem else {}
    for path, _ in _own_files(item):
        if path == INCOMPLETE_MARKER:
            continue
        source, copy = item.directory / path, target / path
        try:
            stored = copy_file(source, copy, sha256=digests.get(path), cancelled=cancelled, progress=progress)
        except IntegrityError as error:
            hint = f"'foundry cache repair {item.model.id}' mends it. Nothing was moved."
            raise IntegrityError(error.message, hint=hint) from error
        if digest_file(copy, cancelled=cancelled).sha256 != stored.sha256:
            raise IntegrityError(f"{copy} does not hold what was written.", hint="Check the disk; nothing was moved.")


def _sample(items: tuple[RemovalPlan, ...]) -> Path | None:
    return next((item.directory / path for item in items for path, status in _own_files(item) if status.st_size), None)
