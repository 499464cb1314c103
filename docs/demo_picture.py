"""Draws the picture of the first page from the demo's records.

rgo-bench demo --out docs/demo && python docs/demo_picture.py [FOLDER]
"""

import sys
from pathlib import Path

import matplotlib as mpl

from rgo_bench.records import read_records
from rgo_bench.report.plots import figure_average_accuracy

HERE = Path(__file__).parent
# The same file from the same records, and letters that stay letters.
STYLE = {"svg.hashsalt": "rgo", "svg.fonttype": "none", "font.size": 11}


def main(folder: Path) -> None:
    """Draw the picture into `folder`."""
    with mpl.rc_context(STYLE):
        figure = figure_average_accuracy(read_records(HERE / "demo"))
        figure.savefig(folder / "demo.svg", metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
