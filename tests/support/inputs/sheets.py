"""Lines of sheets, of whatever format: a map for tests, and what became of a row."""

from importers.documents.port import DocumentPart, MovedLine, RefusedLine

SALES = """
[constants]
kind = "sold"
location = "shop-7"
[columns]
sku = "sku"
quantity = "qty"
"""
COUNTS = """
time_form = "rfc3339"
[constants]
kind = "counted"
location = "shop-7"
[columns]
sku = "sku"
quantity = "qty"
time = "at"
"""


def moved(line: DocumentPart) -> MovedLine:
    assert isinstance(line, MovedLine), line
    return line


def refused(line: DocumentPart) -> str:
    assert isinstance(line, RefusedLine), line
    return line.sentence
