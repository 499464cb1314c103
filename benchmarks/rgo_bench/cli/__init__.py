"""The command line `rgo-bench`."""


def main() -> None:
    """Run the command line; what it needs is loaded here, not by its rooms' parts."""
    from rgo_bench.cli.app import main as run

    run()
