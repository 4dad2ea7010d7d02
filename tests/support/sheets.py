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


def moved(line: DocumentPart) -> MovedLine:
    assert isinstance(line, MovedLine), line
    return line


def refused(line: DocumentPart) -> str:
    assert isinstance(line, RefusedLine), line
    return line.sentence
