"""Fetching a model: plan, transfer, commit. Works the same in a command and for the service."""
