"""`python -m foundry_cli` is the `foundry` command."""

import gc
import signal


def main() -> None:
    """Run the command line and exit."""
    is_interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not in the background of a script
    if is_interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # else Ctrl-C would show where the loading of modules has come to
    gc.set_threshold(100_000)  # looking for garbage while modules load or a long list is read costs a tenth of the time
    from foundry_cli.cli.app import main as run  # not before the threshold

    if is_interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    finally:
        gc.freeze()  # so that the end of the interpreter does not look through all that was loaded: another tenth


if __name__ == "__main__":
    main()
