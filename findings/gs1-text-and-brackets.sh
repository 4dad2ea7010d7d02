#!/usr/bin/env bash
# zxing-cpp 3.1.1, the reader of barcodes, and biip 5.2.0, the library that takes GS1 symbols
# apart, do not fit together by default, and the bracketed form that both write loses data.
#
# Expected: symbology identifier and text of a symbol, as zxing-cpp reads it, can be handed to
#   biip.parse(); and what biip writes for people (as_hri) it reads again (parse_hri).
# Seen: 1. By default zxing-cpp gives the text of each GS1 symbol in brackets, beside an identifier
#   (]C1, ]d2, ]e0) that says there are none. biip.parse() finds no item in it. With
#   TextMode.Plain it does. A plain Code 128 (]C0) can print the very same text.
#   2. Brackets are characters of a lot. Lot A(B)C goes through parse(), is written by as_hri() as
#   (10)A(B)C, and is read again by parse_hri() as lot A, without an error.
#   3. A weighed number of a region without a rule for its prefix: without_variable_measure()
#   gives it back with the measure inside, though where no region is set it raises.
# Exits non-zero if any of that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check zxing-cpp==3.1.1 biip==5.2.0
"$folder/venv/bin/python" - <<'PY'
import biip
import zxingcpp
from biip.gs1_messages import GS1Message
from biip.gtin import Gtin

ITEM = "09521234000013"
LABEL = f"(01){ITEM}(10)A-1(17)271231"
SYMBOLS = {
    "GS1-128": zxingcpp.create_barcode(LABEL, zxingcpp.Code128, gs1=True),
    "GS1 DataMatrix": zxingcpp.create_barcode(LABEL, zxingcpp.DataMatrix, gs1=True),
    "DataBar": zxingcpp.create_barcode(f"01{ITEM}", zxingcpp.DataBarOmni),
}


def item(read):
    found = biip.parse(read.symbology_identifier + read.text)
    return found.gtin and found.gtin.value


print("1.")
for name, symbol in SYMBOLS.items():
    image = symbol.to_image(scale=4)
    default = zxingcpp.read_barcode(image)
    plain = zxingcpp.read_barcode(image, text_mode=zxingcpp.TextMode.Plain)
    for mode, read in (("default", default), ("Plain", plain)):
        print(f"   {name:14} {mode:7} {read.symbology_identifier} {read.text!r}: biip finds {item(read)}")
    assert default.text.startswith("(01)")
    assert item(default) is None
    assert item(plain) == ITEM
printed = zxingcpp.read_barcode(zxingcpp.create_barcode(LABEL, zxingcpp.Code128).to_image(scale=4))
print(f"   {'plain Code 128':14} default {printed.symbology_identifier} {printed.text!r}")
assert printed.symbology_identifier == "]C0"
assert printed.text == LABEL

first = GS1Message.parse(f"01{ITEM}10A(B)C")
again = GS1Message.parse_hri(first.as_hri())
lots = [message.element_strings.get(ai="10").value for message in (first, again)]
print(f"2. lot {lots[0]!r}, as_hri() {first.as_hri()!r}, read again: lot {lots[1]!r}")
assert lots == ["A(B)C", "A"]

number = "2912345017507"
without = Gtin.parse(number, config=biip.ParseConfig(rcn_region="no")).without_variable_measure()
print(f"3. {number} in Norway without its measure: {without.value}")
assert without.value == number
try:
    Gtin.parse(number).without_variable_measure()
except biip.EncodeError as error:
    print("   and where no region is set:", error)
else:
    raise SystemExit("no error any more")
PY
echo "As described: zxing-cpp 3.1.1, biip 5.2.0."
