"""Records of adapters: as those of the zoo, in files of their own."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rgo_bench.records import replace_file, variant_name
from rgo_bench.zoo.record import ZooRecord, read_zoo_record


def lora_path(
    out: Path, *, model: str, method: str, options: Mapping[str, Any], seed: int
) -> Path:
    """Return a record's file: ``OUT/MODEL/METHOD/[VARIANT/]lora-SEED.json``."""
    return out / model / method / variant_name(options, {}) / f"lora-{seed}.json"


def write_lora_record(out: Path, record: ZooRecord) -> Path:
    """Write a record, whole or not at all, and return its file."""
    path = lora_path(
        out,
        model=record.model,
        method=record.method,
        options=record.options,
        seed=record.seed,
    )
    replace_file(path, (json.dumps(asdict(record), indent=1) + "\n").encode())
    return path


def read_lora_records(out: Path) -> list[ZooRecord]:
    """Read every record of an adapter in a folder and its subfolders; often none."""
    return [read_zoo_record(path) for path in sorted(out.rglob("lora-*.json"))]
