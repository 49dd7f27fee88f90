"""The program `carryover`: `doctor` without the libraries that it looks at, every other command by `flows.cli`."""

import sys


def main() -> None:
    """Entry point."""
    if sys.argv[1:2] == ["doctor"]:
        from flows.doctor import main as examine

        sys.exit(examine(sys.argv[2:]))
    from flows.cli import main as command

    command()
