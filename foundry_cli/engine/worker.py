"""The engine worker: one process that owns one loaded model and answers requests for it.

The main thread works, see `worker_loop.py` and, for models that make embeddings, `embedding_loop.py`; a second one only reads
the pipe, whose end is the end of the process.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # as in the service: see there

import argparse
import logging
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from foundry_cli.config import ENGINES
from foundry_cli.engine.confinement import confine, device_files, die_with_parent
from foundry_cli.engine.conversation_files import claim_folder
from foundry_cli.engine.conversation_store import ConversationStore, store_key
from foundry_cli.engine.frames import FrameReader, encode_frame
from foundry_cli.engine.messages import error_fields
from foundry_cli.engine.model_files import ModelFiles, read_model_files
from foundry_cli.engine.runtime_choice import open_runtime
from foundry_cli.engine.worker_log import log_to
from foundry_cli.engine.worker_loop import Inbox, Worker
from foundry_cli.errors import FoundryError
from foundry_cli.execution_providers import CPU
from foundry_cli.hardware.memory import available_memory
from foundry_cli.hardware.processors import usable_cores

if TYPE_CHECKING:
    from foundry_cli.engine.embedding_loop import EmbeddingWorker

logger = logging.getLogger("foundry.engine")

_MEMORY_SHARE = 2  # conversations may take half of the memory that is free after loading
_SMALLEST_BUDGET = 64 * 1024 * 1024  # bytes


def _read_frames(descriptor: int, inbox: Inbox) -> None:
    reader = FrameReader()
    try:
        while data := os.read(descriptor, 1 << 16):
            for frame in reader.feed(data):
                inbox.put(frame)
    finally:
        inbox.put(None)


def claim_output() -> BinaryIO:
    """The pipe to the service, as bytes; whatever libraries print to standard output goes to standard error from now on."""
    if sys.platform == "win32":
        import msvcrt

        for stream in (sys.stdin, sys.stdout):
            msvcrt.setmode(stream.fileno(), os.O_BINARY)  # else line ends would be translated
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return sink


def main() -> None:
    """Load the model of the directory given and serve it on standard input and output."""
    parser = argparse.ArgumentParser(prog="foundry-engine-worker")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--provider", default=CPU)
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--embed", action="store_true", help="make embeddings of texts, whatever else the model could do")
    parser.add_argument("--conversations", type=Path, help="folder for conversations of all models; none: they are not kept")
    parser.add_argument("--conversation-bytes", type=int, default=0)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which lets answers finish
    sink = claim_output()
    log_to(sink)
    began = time.monotonic()
    try:
        worker = _load(arguments, sink)
    except FoundryError as error:
        sink.write(encode_frame({"op": "failed", **error_fields(error)}))
        sink.flush()
        return
    facts = {**worker.facts(), "threads": usable_cores(), "load_seconds": time.monotonic() - began}
    sink.write(encode_frame({"op": "ready", **facts}))
    sink.flush()
    gc.freeze()
    gc.enable()
    worker.run()


def _load(arguments: argparse.Namespace, sink: BinaryIO) -> Worker | EmbeddingWorker:
    files = read_model_files(arguments.directory)
    kept = None if arguments.embed else _conversations(arguments, files)
    confine(arguments.directory, devices=() if arguments.provider == CPU else device_files(), writable=kept)
    inbox: Inbox = queue.SimpleQueue()
    worker = (
        _embedding_worker(arguments, files, inbox, sink) if arguments.embed else _worker(arguments, files, inbox, sink, kept)
    )
    threading.Thread(target=_read_frames, args=(sys.stdin.fileno(), inbox), daemon=True).start()
    return worker


def _worker(arguments: argparse.Namespace, files: ModelFiles, inbox: Inbox, sink: BinaryIO, kept: Path | None) -> Worker:
    store = ConversationStore(kept, arguments.conversation_bytes) if kept else None
    runtime = open_runtime(files, threads=usable_cores(), provider=arguments.provider, choice=arguments.engine, store=store)
    budget = max(_SMALLEST_BUDGET, available_memory() // _MEMORY_SHARE)
    return Worker(runtime, inbox, sink, memory_budget=budget)


def _embedding_worker(arguments: argparse.Namespace, files: ModelFiles, inbox: Inbox, sink: BinaryIO) -> EmbeddingWorker:
    from foundry_cli.engine.embedding_loop import EmbeddingWorker  # with native code: not before `confine`
    from foundry_cli.engine.embedding_runtime import EmbeddingRuntime

    return EmbeddingWorker(EmbeddingRuntime(files, threads=usable_cores(), provider=arguments.provider), inbox, sink)


def _conversations(arguments: argparse.Namespace, files: ModelFiles) -> Path | None:
    """The folder for the conversations of this model, None when they are not kept."""
    if not arguments.conversations or arguments.provider != CPU:
        return None
    folder: Path = arguments.conversations / store_key(files.directory, files.chat_template)
    try:
        claim_folder(arguments.conversations)
        claim_folder(folder)
    except OSError as error:
        logger.warning("conversations are not kept on disk: %s", error.strerror)
        return None
    return folder


if __name__ == "__main__":
    main()
