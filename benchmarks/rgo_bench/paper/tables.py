"""The tables of the paper: what each is made of, and how it is shown."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final, NamedTuple

from rgo_bench.paper.accuracies import accuracy_sheet
from rgo_bench.paper.table1 import table1_specs
from rgo_bench.paper.table2 import table2_sheet, table2_specs
from rgo_bench.paper.table3 import table3_sheet, table3_specs
from rgo_bench.records import Record
from rgo_bench.runs.spec import Spec
from rgo_bench.sheets import Sheet


class PaperTable(NamedTuple):
    """A table of the paper (Liu and Liu, ICLR 2022)."""

    # Of the keywords seeds (by default the paper's five), streams and networks (all
    # that the table has where None). All of one seed come before those of the next, so
    # that a table that is cut short still has all its rows.
    specs: Callable[..., list[Spec]]
    sheet: Callable[[Sequence[Record]], Sheet]
    runs: bool  # what is missing, unless told not to: those that take hours each do not


PAPER_TABLES: Final[Mapping[str, PaperTable]] = MappingProxyType(
    {
        "1": PaperTable(table1_specs, partial(accuracy_sheet, deviations=True), True),
        "2": PaperTable(table2_specs, table2_sheet, False),
        "3": PaperTable(table3_specs, table3_sheet, False),
    }
)
