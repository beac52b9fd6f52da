"""`python -m foundry_cli` is the `foundry` command."""

from foundry_cli.cli.app import main

if __name__ == "__main__":
    main()
