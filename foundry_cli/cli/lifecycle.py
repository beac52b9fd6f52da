"""What commands that start or restart the service have in common."""

from __future__ import annotations

from foundry_cli.cli import output
from foundry_cli.cli.output import symbol
from foundry_cli.client.supervisor import find_service, start_service, stop_service
from foundry_cli.instance import InstanceRecord
from foundry_cli.paths import Paths


def started_line(record: InstanceRecord) -> str:
    """What is said when the service was started."""
    return f"{symbol('🟢 ')}Service is Started on {record.base_url}/, PID {record.pid}!"


def restart_service(paths: Paths) -> None:
    """Stop the service if it runs, and start it."""
    output.line("Restarting service...")
    output.flush()
    if stop_service(paths):
        output.line(f"{symbol('🔴 ')}Service is stopped.")
    client, _ = start_service(paths)
    output.line(started_line(client.record))


def restart_if_running(paths: Paths) -> None:
    """Let a running service take up new settings."""
    if find_service(paths):
        restart_service(paths)
