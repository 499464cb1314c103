"""``python -m rgo_bench``, and what torchrun starts several times over."""

from rgo_bench.cli.app import main
from rgo_bench.cli.terminal import console
from rgo_bench.team import joined

if __name__ == "__main__":
    with joined() as team:
        console.quiet = not team.leads
        main()
