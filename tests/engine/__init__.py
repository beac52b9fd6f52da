"""Tests of the engine: pure units, the worker over a fake runtime, and the real worker process."""
