"""The base modules: errors, paths, settings, types, diagnostics."""
