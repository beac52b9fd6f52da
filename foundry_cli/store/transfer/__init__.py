"""The transfer of a model's files from its source: resumable, in parallel, proven by hash before a file gets its name."""

from foundry_cli.store.transfer.crew import Progress, Report, check_names, missing_bytes, transfer
from foundry_cli.store.transfer.fetcher import Patience

__all__ = ["Patience", "Progress", "Report", "check_names", "missing_bytes", "transfer"]
