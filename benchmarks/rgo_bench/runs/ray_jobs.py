"""Many runs on a cluster: each is a task of Ray's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rgo_bench.records import Record, check_writable, write_record
from rgo_bench.runs.attempts import (
    Failure,
    Manner,
    Outcome,
    attempt,
    import_plugins,
    unrecorded,
)
from rgo_bench.runs.reporter import Bars, Silent, report_done
from rgo_bench.runs.spec import Spec

# How often a run begins again, after its last finished task, when its node or its
# process is lost.
RETRIES = 10


def run_on_ray(
    specs: Sequence[Spec], manner: Manner, *, address: str | None, bars: Bars
) -> Outcome:
    """Run all of `specs` as tasks of a Ray cluster; one that fails spoils no other.

    A run asks for as many CPUs as it has threads, and for a GPU where its device is
    one; Ray places it on a node that has them. A run that is lost with its node, or
    with its process, is made again on another one, and goes on after its last finished
    task where the folder of the records is one that both nodes share. What a node
    cannot write there is sent back.

    The address is that of a cluster, ``"auto"`` of this machine's; with None there is
    one of this machine alone, which ends with the runs. Nothing starts where there is
    no cluster, or records cannot be written.
    """
    ray = _ray()
    manner = replace(manner, out=manner.out.absolute())
    results: dict[int, Record | Failure] = {}
    waiting: dict[int, Spec] = {}
    for place, spec in enumerate(specs):
        if unrecorded([spec], manner):
            waiting[place] = spec
        else:
            results[place] = attempt(spec, manner, bars.add(spec))
    if waiting:
        check_writable(manner.out)
        _connect(ray, address)
        try:
            results |= _work(ray, waiting, manner, bars)
        finally:
            ray.shutdown()
    return Outcome.of(results)


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ImportError(
            "--engine ray expects Ray, which is not installed: pip install 'rgo[ray]'"
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    except ConnectionError as error:
        raise ConnectionError(
            f"--address: expected a Ray cluster at {address!r}, got none ({error}); "
            "start one by: ray start --head"
        ) from error


def _work(
    ray: Any, specs: Mapping[int, Spec], manner: Manner, bars: Bars
) -> dict[int, Record | Failure]:
    task = ray.remote(
        num_cpus=manner.threads,
        num_gpus=int(manner.device == "cuda"),
        max_retries=RETRIES,
        max_calls=1,  # a process of its own, as in the pool
    )(_run)
    under_way = {
        task.remote(spec, manner): (place, bars.add(spec))
        for place, spec in specs.items()
    }
    results: dict[int, Record | Failure] = {}
    while under_way:
        (reference,), _ = ray.wait(list(under_way), num_returns=1)
        place, reporter = under_way.pop(reference)
        results[place] = result = _result(ray, reference, specs[place])
        if isinstance(result, Record):
            # It was sent back, whoever could write it before.
            write_record(manner.out, result)
            tasks = specs[place].stream_options.tasks
            report_done(reporter, specs[place], tasks, result.acc)
    return results


def _run(spec: Spec, manner: Manner) -> Record | Failure:
    """Run on a node."""
    import_plugins(manner.plugins)
    return attempt(spec, manner, Silent())


def _result(ray: Any, reference: Any, spec: Spec) -> Record | Failure:
    try:
        result: Record | Failure = ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        return Failure(spec, reason, str(error))
    return result
