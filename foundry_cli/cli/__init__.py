"""The `foundry` command: parse, call, print, exit. Nothing heavy is imported before a command needs it."""
