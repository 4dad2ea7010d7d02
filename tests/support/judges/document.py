"""Puts measured tables into documents, between their markers."""

from pathlib import Path

BEGIN, END = "<!-- table -->\n", "<!-- end of table -->"


def put_table(document: Path, lines: list[str], measured: str) -> None:
    """Replace what stands between the markers."""
    before, begin, rest = document.read_text().partition(BEGIN)
    assert begin, f"{document} has no marker {BEGIN!r}"
    table = "\n".join(lines)
    document.write_text(f"{before}{BEGIN}\n{table}\n\n{measured}\n\n{END}{rest.partition(END)[2]}")
