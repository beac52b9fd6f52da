"""Run AI models on your own machine: the `foundry` command and its local inference service."""

__version__ = "0.1.0"
