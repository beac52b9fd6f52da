"""Models that people bring themselves: adding a folder, converting a checkpoint, testing how a model behaves."""
