"""The work of `foundry model download`, and of `run` for a model that is not here yet."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from foundry_cli.cli import output
from foundry_cli.cli.output import Say
from foundry_cli.cli.progress import DownloadProgress
from foundry_cli.config import Config, load_config
from foundry_cli.download.downloading import check_cache_in_force, download, repair
from foundry_cli.download.planning import DownloadPlan, plan_download
from foundry_cli.errors import DownloadCancelledError, LicenseNotAcceptedError, UnsuitableModelError
from foundry_cli.home import check_owner
from foundry_cli.http import HttpClient
from foundry_cli.inventory import open_inventory
from foundry_cli.paths import Paths
from foundry_cli.store.verify import FileCheck
from foundry_cli.suitability import Machine, largest_that_fits, reason_against
from foundry_cli.types import ModelInfo


class Downloads:
    """Downloads of one command, with the settings in force. `stream` is where progress is shown."""

    def __init__(self, say: Say = output.line, stream: TextIO | None = None) -> None:
        self._paths = Paths.from_environment()
        check_owner(self._paths)
        self._config: Config = load_config(self._paths)
        self.inventory = open_inventory(self._paths, self._config)
        self.client = HttpClient(is_offline=self._config.is_offline, cancelled=threading.Event(), on_wait=output.note)
        self._say = say
        self._stream = stream or sys.stdout

    def fetch(self, model: ModelInfo, *, force: bool = False, accept_license: bool = False) -> ModelInfo:
        """Download `model` after showing what that means, and return it as it is on this machine.

        Raises `UnsuitableModelError` unless `force`, `LicenseNotAcceptedError`, `DownloadError` and its kinds, `CacheError`.
        """
        self._check_license(model, is_accepted=accept_license)
        with self._interruptible():
            plan = plan_download(model, self.inventory, self.client)
            self._check_machine(plan, force=force)
            self._say(f"Downloading {model.id}...")
            self._describe(plan)
            with DownloadProgress(self._stream) as progress, _interrupts_cancel(self.client.cancelled):
                download(plan, self.client, progress)
        check_cache_in_force(plan, self.inventory, self._paths)
        return self.inventory.resolve(model.id)

    def mend(self, model: ModelInfo) -> list[FileCheck]:
        """Check all files of a downloaded model, fetch again what is damaged; returns what was. Raises `DownloadError`."""
        with (
            self._interruptible(),
            DownloadProgress(self._stream) as checking,
            DownloadProgress(self._stream) as fetching,
            _interrupts_cancel(self.client.cancelled),
        ):
            return repair(model, self.inventory, self.client, fetching, checking.check)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C ends the threads of the transfer in an orderly way, so that nothing that has arrived is lost."""
        try:
            yield
        except (KeyboardInterrupt, DownloadCancelledError):
            self.client.cancelled.set()
            output.note("\nStopped. What has arrived is kept; the same command goes on from there.")
            raise KeyboardInterrupt from None

    def _describe(self, plan: DownloadPlan) -> None:
        here = plan.total - plan.missing
        if here > 0:
            percent = 100 * here / plan.total if plan.total else 100.0
            self._say(f"Continuing at {percent:.1f} %: {_gigabytes(here)} of {_gigabytes(plan.total)} are here already.")
        else:
            self._say(f"{_gigabytes(plan.total)} to fetch; {_gigabytes(plan.free)} are free on the disk.")
        if plan.model.license:
            self._say(f"License: {plan.model.license}")
        output.flush()

    def _check_license(self, model: ModelInfo, *, is_accepted: bool) -> None:
        if not model.requires_acceptance or is_accepted:
            return
        text = model.license_description or model.license or "The source shows the text of the licence."
        self._say(f"{model.id} is given only to those who accept its licence:\n{text}")
        if sys.stdin.isatty() and self._confirms():
            return
        raise LicenseNotAcceptedError(
            f"The licence of {model.id} was not accepted.", hint="Read it, and use --accept-license to accept it."
        )

    def _confirms(self) -> bool:
        self._say("Do you accept it? (y/n)")
        output.flush()
        try:
            return input().strip().lower() in ("y", "yes")
        except EOFError:
            return False

    def _check_machine(self, plan: DownloadPlan, *, force: bool) -> None:
        machine = Machine.of(self._paths)
        reason = reason_against(plan.model, machine, plan.genai_config)
        if not reason:
            return
        if force:
            self._say(f"{reason} It is downloaded nevertheless.")
            return
        others = [other for other in self.inventory.models() if other.alias == plan.model.alias and other.id != plan.model.id]
        fitting = largest_that_fits(others, machine)
        offer = f"'foundry model download {fitting.id}' gets the largest variant that runs here. " if fitting else ""
        raise UnsuitableModelError(reason, hint=f"{offer}Use --force to download it nevertheless.")


@contextmanager
def _interrupts_cancel(cancelled: threading.Event) -> Iterator[None]:
    """Ctrl-C sets `cancelled`, however often: an exception at any place would leave threads and files as they happen to be."""
    is_ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    previous = signal.signal(signal.SIGINT, lambda *_: cancelled.set()) if is_ours else None
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, previous)


def _gigabytes(size: int) -> str:
    return output.gigabytes(size) if size >= 10 << 20 else f"{size / (1 << 20):.2f} MB"
