"""The command line `rgo-bench`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rgo_bench.cli import demo as demonstration
from rgo_bench.cli.measuring import memory, numerics, profile, steps
from rgo_bench.cli.rivals import compare, orders
from rgo_bench.cli.seeds import parse_seeds
from rgo_bench.cli.terminal import (
    LOCAL,
    Format,
    choose_engine,
    console,
    end_with,
    errors,
    run_mapped_shown,
    run_shown,
    show,
)
from rgo_bench.lora.command import lora
from rgo_bench.lora.table import lora_sheet
from rgo_bench.measure.cost import (
    measure_costs,
    own_options,
    parse_subject,
    summarize_costs,
)
from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.paper.published import PUBLISHED_NETWORKS
from rgo_bench.paper.table1 import table1_specs
from rgo_bench.paper.tables import PAPER_TABLES
from rgo_bench.records import (
    PHASES,
    describe_environment,
    read_records,
    replace_file,
)
from rgo_bench.report.tables import accuracy_sheet
from rgo_bench.runs.jobs import Manner, import_plugins, unrecorded
from rgo_bench.runs.spec import BACKENDS, make_spec, option_text, parse_options
from rgo_bench.streams import STREAMS
from rgo_bench.zoo.command import zoo
from rgo_bench.zoo.record import read_zoo_records
from rgo_bench.zoo.table import zoo_sheet

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Recursive Gradient Optimization: the paper's experiments.",
)

Out = Annotated[Path, typer.Option(help="The folder of the records.")]
Jobs = Annotated[int, typer.Option(help="Runs at a time; threads are shared.", min=1)]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Threads = Annotated[
    int, typer.Option(help="Threads of a run: one is best for the MLP.", min=1)
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
Seeds = Annotated[str | None, typer.Option(help="Seeds: 3, or 0-4, or 0,2,5.")]


@app.command("list")
def list_all() -> None:
    """List streams, methods and networks, with the options that --set takes.

    Below them, the options that a stream sets for a method unless told otherwise, and
    what --set preset=NAME stands for.
    """
    for kind, entries in (("stream", STREAMS), ("method", METHODS)):
        table = Table(kind, "what it is", "options", box=None, pad_edge=False)
        for name, entry in entries.items():
            table.add_row(name, entry.summary, _listed(entry.defaults.as_dict()))
        console.print(table, "")
    table = Table("stream", "method", "options there", box=None, pad_edge=False)
    for name, stream in STREAMS.items():
        for method, options in stream.protocol.items():
            table.add_row(name, method, _listed(options))
    console.print(table, "")
    table = Table("method", "preset", "options", box=None, pad_edge=False)
    for method, known in METHODS.items():
        for name, options in known.presets.items():
            table.add_row(method, name, _listed(options))
    console.print(table, "")
    console.print("network ", *NETWORKS)


@app.command()
def run(
    stream: Annotated[str, typer.Argument(help="A stream; see `rgo-bench list`.")],
    method: Annotated[str, typer.Option(help="Methods: rgo, or rgo,sgd,stl.")] = "rgo",
    seed: Annotated[int | None, typer.Option(help="One seed.")] = None,
    seeds: Seeds = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE: an option of stream or method."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="A network; the stream's own by default.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The folder of the stream's data.")
    ] = None,
    device: Device = "cpu",
    out: Out = Path("results"),
    force: Annotated[bool, typer.Option(help="Run finished runs again.")] = False,
    threads: Threads = 1,
    compile_: Compile = False,
    jobs: Jobs = 1,
    backend: Annotated[str, typer.Option(help="torch or jax.")] = BACKENDS[0],
    vmap: Annotated[
        bool, typer.Option("--vmap", help="With jax: all seeds at once, by jax.vmap.")
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(help="A module of yours that registers methods."),
    ] = None,
    engine: EngineName = LOCAL.name,
    address: Address = None,
) -> None:
    """Run methods on a stream; a run that was cut off goes on where it stopped."""
    if seed is not None and seeds is not None:
        raise ValueError("--seed, --seeds: expected one of them, got both")
    chosen_engine = choose_engine(engine, address)
    chosen = parse_seeds(seeds) if seeds is not None else [seed or 0]
    import_plugins(plugin or ())
    options = parse_options(set_ or [])
    specs = [
        make_spec(
            stream, name, each, options, network=network, data=data, backend=backend
        )
        for name in dict.fromkeys(method.split(","))
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
    if compile_ and backend != BACKENDS[0]:
        raise ValueError(
            f"--compile: expected --backend {BACKENDS[0]}, got {backend}, which "
            "compiles in any case"
        )
    if vmap:
        if backend != "jax":
            raise ValueError(f"--vmap: expected --backend jax, got {backend}")
        show(accuracy_sheet(run_mapped_shown(specs, manner)))
        return
    records, failures = run_shown(specs, manner, jobs=jobs, engine=chosen_engine)
    show(accuracy_sheet(records))
    end_with(failures)


@app.command()
def table(
    what: Annotated[
        str,
        typer.Argument(help="A folder of records, or 1, 2 or 3: a table of the paper."),
    ],
    format_: Annotated[Format, typer.Option("--format")] = Format.terminal,
    out: Out = Path("results"),
    jobs: Jobs = 1,
    seeds: Seeds = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(help="A stream of the table; by default all, of Table 1 MNIST's."),
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="A network of the table; all by default.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = 1,
    compile_: Compile = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only list the runs that are missing.")
    ] = False,
    run_: Annotated[
        bool | None,
        typer.Option(
            "--run/--no-run",
            help="Whether to run what is missing; by default of Table 1 alone.",
        ),
    ] = None,
    engine: EngineName = LOCAL.name,
    address: Address = None,
) -> None:
    """Print ours beside the paper's; of Tables 2 and 3 tell what was not run."""
    chosen_engine = choose_engine(engine, address)
    if what not in PAPER_TABLES:
        of_zoo, of_lora = (
            read_zoo_records(Path(what)),
            read_zoo_records(Path(what), "lora"),
        )
        records = read_records(Path(what))
        _check_some(what, [*records, *of_zoo, *of_lora])
        if records:
            show(accuracy_sheet(records), format_)
        if of_zoo:
            show(zoo_sheet(of_zoo), format_)
        if of_lora:
            show(lora_sheet(of_lora), format_)
        return
    # An option that was not given is an empty list.
    asked: dict[str, Any] = {"streams": stream or None, "networks": network or None}
    if seeds is not None:
        asked["seeds"] = parse_seeds(seeds)
    specs = PAPER_TABLES[what].specs(**asked)
    manner = Manner(
        out=out, device=device, threads=max(1, threads // jobs), compiled=compile_
    )
    absent = unrecorded(specs, manner)
    errors.print(f"Table {what}: {len(absent)} of {len(specs)} runs are missing.")
    if missing:
        from rgo_bench.report.commands import spec_command  # loads Matplotlib

        for spec in absent:
            more = ["--compile"] if compile_ else []
            more = ["--out", str(out), "--device", device, *more]
            typer.echo(spec_command(spec, *more))
        return
    if not (PAPER_TABLES[what].runs if run_ is None else run_):
        specs = [spec for spec in specs if spec not in absent]
    records, failures = run_shown(specs, manner, jobs=jobs, engine=chosen_engine)
    show(PAPER_TABLES[what].sheet(records), format_)
    end_with(failures)


@app.command()
def figure(
    number: Annotated[
        int, typer.Argument(help="1: the paper's Figure 1.", min=1, max=1)
    ],
    out: Out = Path("results"),
    path: Annotated[Path, typer.Option(help="The picture: .png, .pdf or .svg.")] = Path(
        "figure-1.png"
    ),
) -> None:
    """Draw a figure of the paper from the records that there are."""
    manner = Manner(out=out)
    specs = table1_specs(streams=PUBLISHED_NETWORKS)
    missing = unrecorded(specs, manner)
    there = [spec for spec in specs if spec not in missing]
    if not there:
        raise ValueError(f"{out}: expected records of Figure {number}, got none")
    errors.print(f"Figure {number}: {len(missing)} of {len(specs)} runs are missing.")
    records, failures = run_shown(there, manner)
    demonstration.write_plot(records, path)
    typer.echo(path)
    end_with(failures)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A folder of records.")],
    path: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    cost: Annotated[
        list[Path] | None, typer.Option(help="A file of `rgo-bench cost --out`.")
    ] = None,
) -> None:
    """Write tables, figure, heat maps and times as one page that needs no network."""
    from rgo_bench.report.page import write_report  # loads Matplotlib

    costs = [json.loads(file.read_text()) for file in cost or ()]
    records = read_records(results)
    _check_some(results, records)
    write_report(records, path, costs=costs, zoo=read_zoo_records(results))
    typer.echo(path)


@app.command()
def cost(
    stream: Annotated[str, typer.Argument(help="A stream; see `rgo-bench list`.")],
    method: Annotated[
        str, typer.Option(help="METHOD[:BACKEND[:SEEDS]], several; the first is 1.")
    ] = "sgd,rgo",
    repeats: Annotated[int, typer.Option(help="Runs of each method.", min=1)] = 3,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE: of the stream, or of a method."),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of a run.", min=1)] = 1,
    out: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Time whole runs, interleaved, each in a process of its own; and their memory."""
    options = parse_options(set_ or [])
    unknown = set(options)
    for subject in method.split(","):
        name, backend, _ = parse_subject(subject)
        own = own_options(stream, subject, options)
        make_spec(stream, name, 0, own, backend=backend)
        unknown -= set(own)
    if unknown:
        raise ValueError(
            f"--set: expected options of {stream} or of {method}, got "
            f"{', '.join(sorted(unknown))}"
        )
    costs = measure_costs(
        stream,
        method.split(","),
        options=options,
        repeats=repeats,
        threads=threads,
        ran=lambda cost: errors.print(f"{cost.method}: {cost.total:.1f} s"),
    )
    rows = summarize_costs(costs)
    table = Table("method", "seconds", "ratio", *PHASES, "MiB", "ratio", box=None)
    for row in rows:
        phases = (f"{row['seconds'][phase]:.1f}" for phase in PHASES)
        times = f"{row['total']:.1f}", f"{row['time_ratio']:.2f}"
        memory = f"{row['peak']:.0f}", f"{row['memory_ratio']:.2f}"
        table.add_row(row["method"], *times, *phases, *memory)
    console.print(table)
    if out is not None:
        environment = describe_environment("torch", device="cpu", threads=threads)
        content = {"stream": stream, "options": options, "rows": rows}
        text = json.dumps(content | {"environment": environment}, indent=2)
        replace_file(out, (text + "\n").encode())


app.command()(steps)
app.command()(profile)
app.command()(memory)
app.command()(numerics)
app.command()(compare)
app.command()(orders)
app.command()(zoo)
app.command()(lora)


@app.command()
def demo(
    out: Out = Path("demo"),
    seed: Annotated[int, typer.Option(help="The seed.")] = 0,
) -> None:
    """See SGD forget and RGO not, on scikit-learn's digits, in under a minute."""
    specs = list(demonstration.demo_specs(seed))
    console.print(
        f"{demonstration.STREAM}: {specs[0].stream_options.tasks} tasks, one network, "
        "no old data kept. ACC is the mean accuracy on all tasks after the last, BWT "
        "what was forgotten since each was learned, in percent."
    )
    records, failures = run_shown(specs, Manner(out=out, force=True))
    end_with(failures)
    picture = out / "average-accuracy.png"
    demonstration.write_plot(records, picture)
    show(accuracy_sheet(records))
    typer.echo(f"The same over time: {picture}")


def main() -> None:
    """Run the command line; errors of the user are one line, not a traceback."""
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        # Not errors.print, which breaks lines.
        typer.secho(f"rgo-bench: {error}", fg="red", err=True)
        raise SystemExit(2) from None


def _listed(options: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={option_text(options[key])}" for key in options)


def _check_some(results: Path | str, records: Sequence[object]) -> None:
    if not records:
        raise ValueError(f"{results}: expected records (seed-*.json), got none")
