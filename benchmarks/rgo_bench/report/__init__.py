"""Records as one HTML page that needs nothing else."""

from rgo_bench.report.page import report_html, write_report

__all__ = ["report_html", "write_report"]
