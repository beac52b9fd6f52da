"""The installed command, as people and scripts use it."""
