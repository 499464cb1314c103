"""The commands that run methods: ``run`` and ``demo``."""

from pathlib import Path
from typing import Annotated, Final

import typer

from rgo_bench.cli import options as option
from rgo_bench.cli.seeds import parse_seeds
from rgo_bench.cli.terminal import (
    LOCAL,
    choose_engine,
    console,
    end_with,
    run_mapped_shown,
    run_shown,
    show,
)
from rgo_bench.paper.accuracies import accuracy_sheet
from rgo_bench.runs.attempts import Manner, import_plugins
from rgo_bench.runs.spec import BACKENDS, make_spec, parse_options

DEMONSTRATED: Final = ("sgd", "rgo-2", "rgo", "stl")


def run(
    stream: option.Stream,
    method: option.Methods = "rgo",
    seed: Annotated[int | None, typer.Option(help="One seed.")] = None,
    seeds: option.Seeds = None,
    set_: option.Settings = None,
    network: option.Network = None,
    data: Annotated[
        Path | None, typer.Option(help="The folder of the stream's data.")
    ] = None,
    device: option.Device = "cpu",
    out: option.Out = Path("results"),
    force: option.Force = False,
    threads: option.Threads = 1,
    compile_: option.Compile = False,
    jobs: option.Jobs = 1,
    backend: option.Backend = BACKENDS[0],
    vmap: Annotated[
        bool, typer.Option("--vmap", help="With jax: all seeds at once, by jax.vmap.")
    ] = False,
    plugin: option.Plugins = None,
    engine: option.EngineName = LOCAL.name,
    address: option.Address = None,
) -> None:
    """Run methods on streams with networks, a,b of each; what was cut off goes on."""
    if seed is not None and seeds is not None:
        raise ValueError("--seed, --seeds: expected one of them, got both")
    chosen_engine = choose_engine(engine, address)
    chosen = parse_seeds(seeds) if seeds is not None else [seed or 0]
    import_plugins(plugin or ())
    options = parse_options(set_ or [])
    specs = [
        make_spec(on, name, each, options, network=with_, data=data, backend=backend)
        for on in option.split_names(stream) or ()
        for with_ in option.split_names(network) or (None,)
        for name in option.split_names(method) or ()
        for each in chosen
    ]
    manner = Manner(
        out=out,
        device=device,
        threads=max(1, threads // jobs),
        compiled=compile_,
        force=force,
        plugins=tuple(plugin or ()),
    )
    _check_backend(backend, compiled=compile_, vmap=vmap)
    if vmap:
        show(accuracy_sheet(run_mapped_shown(specs, manner)))
        return
    records, failures = run_shown(specs, manner, jobs=jobs, engine=chosen_engine)
    show(accuracy_sheet(records))
    end_with(failures)


def _check_backend(backend: str, *, compiled: bool, vmap: bool) -> None:
    if compiled and backend != BACKENDS[0]:
        raise ValueError(
            f"--compile: expected --backend {BACKENDS[0]}, got {backend}, which "
            "compiles in any case"
        )
    if vmap and backend != "jax":
        raise ValueError(f"--vmap: expected --backend jax, got {backend}")


def demo(
    out: option.Out = Path("demo"),
    seed: Annotated[int, typer.Option(help="The seed.")] = 0,
) -> None:
    """See SGD forget and RGO not, on scikit-learn's digits, in under a minute."""
    from rgo_bench.report.plots import write_average_accuracy  # loads Matplotlib

    specs = [make_spec("permuted-digits", method, seed) for method in DEMONSTRATED]
    console.print(
        f"permuted-digits: {specs[0].stream_options.tasks} tasks, one network, "
        "no old data kept. ACC is the mean accuracy on all tasks after the last, BWT "
        "what was forgotten since each was learned, in percent."
    )
    records, failures = run_shown(specs, Manner(out=out, force=True))
    end_with(failures)
    picture = out / "average-accuracy.png"
    write_average_accuracy(records, picture)
    show(accuracy_sheet(records))
    typer.echo(f"The same over time: {picture}")
