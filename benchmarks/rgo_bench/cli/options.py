"""The options that several commands have, and the choices that their help shows."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from rgo_bench.cli.terminal import Format
from rgo_bench.measure.steps import OPTIMIZERS
from rgo_bench.measure.subjects import SUBJECTS
from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.runs.spec import BACKENDS
from rgo_bench.streams import STREAMS


def choices(names: Iterable[str]) -> str:
    """Return names as help states them."""
    return f"Of {', '.join(names)}."


def split_names(given: str | Iterable[str] | None) -> list[str] | None:
    """Return the names in ``a,b``, or in several of these, each once; None for none."""
    texts = [given] if isinstance(given, str) else given or ()
    names = (name for text in texts for name in text.split(","))
    return list(dict.fromkeys(names)) or None


Stream = Annotated[str, typer.Argument(help=choices(STREAMS))]
Methods = Annotated[str, typer.Option("--method", help=choices(METHODS))]
Seeds = Annotated[str | None, typer.Option(help="Seeds: 3, or 0-4, or 0,2,5.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE: an option of stream or method."),
]
OptionsOfRGO = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE: an option of RGO.")
]
Network = Annotated[
    str | None, typer.Option(help=f"{choices(NETWORKS)} The stream's own by default.")
]
Subjects = Annotated[list[str], typer.Argument(help=choices(SUBJECTS))]
Out = Annotated[Path, typer.Option(help="The folder of the records.")]
OutFile = Annotated[Path | None, typer.Option(help="A JSON file to write.")]
Force = Annotated[bool, typer.Option(help="Run finished runs again.")]
Jobs = Annotated[int, typer.Option(help="Runs at a time; threads are shared.", min=1)]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Backend = Annotated[str, typer.Option(help=choices(BACKENDS))]
Optimizer = Annotated[
    str, typer.Option(help=f"{choices(OPTIMIZERS)} AdamW's updates are projected.")
]
Steps = Annotated[
    int | None,
    typer.Option(help="Steps of a task; by default the model's or stream's.", min=1),
]
Threads = Annotated[
    int, typer.Option(help="Threads of a run: one is best for a small network.", min=1)
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Steps through torch.compile; CUDA graphs on cuda."),
]
EngineName = Annotated[
    str, typer.Option("--engine", help="local: processes here. ray: a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(help="Of a Ray cluster: auto, or ray://HOST:10001; else one here."),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="A module of yours that registers methods."),
]
Formats = Annotated[Format, typer.Option("--format")]
Batch = Annotated[int, typer.Option(help="Samples of a step.", min=1)]
Shape = Annotated[
    str | None,
    typer.Option(
        help="Of one sample: 784, or 3,32,32; MNIST's or CIFAR's by default, and 128 "
        "tokens for bert."
    ),
]
