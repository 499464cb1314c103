from bench.sample_records import make_record
from bench.zoo.sample_zoo import zoo_record

from rgo_bench.report.html_tables import zoo_table
from rgo_bench.report.page import report_html


def test_the_zoo_has_a_row_for_each_model_and_method() -> None:
    options = {"damping": 0.1}
    records = [zoo_record(), zoo_record(method="rgo", options=options, protected=98.4)]
    html = zoo_table(records)
    assert html.count("<tr>") == 3
    assert "rgo,<wbr> damping=0.1" in html
    assert "<td>98 %</td>" in html
    assert "<td>−50.0</td>" in html


def test_the_page_has_the_zoo_where_there_are_records_of_it() -> None:
    assert 'id="zoo"' in report_html([make_record()], zoo=[zoo_record()])
    assert 'id="zoo"' not in report_html([make_record()])
