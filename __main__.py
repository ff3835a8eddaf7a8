"""The `sampan` command."""


def main() -> int:
    """Dispatch to the subcommands."""
    raise SystemExit("sampan: no subcommand yet")


if __name__ == "__main__":
    main()
