"""Every pair of a stream and a method."""

from pathlib import Path

from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.streams import STREAMS

OUT = Path("out")
PAIRS = [
    (stream, method)
    for stream in STREAMS
    for method in METHODS
    if STREAMS[stream].network in NETWORKS
]
