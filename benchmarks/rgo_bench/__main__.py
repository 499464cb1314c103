"""``python -m rgo_bench``, and what torchrun starts several times over."""

from rgo_bench.cli import main
from rgo_bench.team import joined
from rgo_bench.terminal import console

if __name__ == "__main__":
    with joined() as team:
        console.quiet = not team.leads
        main()
