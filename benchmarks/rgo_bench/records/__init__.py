"""Records of finished runs: one small JSON file each."""

from rgo_bench.atomic import replace_file, write_json
from rgo_bench.records.environment import describe_environment
from rgo_bench.records.folder import (
    check_writable,
    read_record,
    read_records,
    record_path,
    write_record,
)
from rgo_bench.records.record import PHASES, Record, percent_rows
from rgo_bench.records.variant import differing_options, variant_name, variant_options

__all__ = [
    "PHASES",
    "Record",
    "check_writable",
    "describe_environment",
    "differing_options",
    "percent_rows",
    "read_record",
    "read_records",
    "record_path",
    "replace_file",
    "variant_name",
    "variant_options",
    "write_json",
    "write_record",
]
