"""Streams of tasks: what `rgo-bench run` learns."""

from rgo_bench.streams.options import StreamOptions
from rgo_bench.streams.registry import (
    STREAMS,
    StreamEntry,
    make_stream,
    register_stream,
)
from rgo_bench.streams.stream import Samples, Stream

__all__ = [
    "STREAMS",
    "Samples",
    "Stream",
    "StreamEntry",
    "StreamOptions",
    "make_stream",
    "register_stream",
]
