"""Tests of the generated completions and manual pages."""
