"""Contracts with the published clients, which run unmodified, each in an environment of its own: `pytest -m clients`."""
