"""Tests: the real service, the real worker, real files; scripted models where the answer must be known."""
