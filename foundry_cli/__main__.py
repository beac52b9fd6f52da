"""`python -m foundry_cli` is the `foundry` command."""

import gc


def main() -> None:
    """Run the command line and exit."""
    gc.set_threshold(100_000)  # looking for garbage while modules load or a long list is read costs a tenth of the time
    from foundry_cli.cli.app import main as run  # not before the threshold

    try:
        run()
    finally:
        gc.freeze()  # so that the end of the interpreter does not look through all that was loaded: another tenth


if __name__ == "__main__":
    main()
