"""One item as readers hand it over. The number is of the range for demonstrations (952)."""

from importers.items import Setup

GS = "\x1d"
SHOP = Setup(gs="|")

SKU = "09521234000013"
#: Where it comes from, and the text.
SHAPES = {
    "EAN-13, no identifier": "9521234000013",
    "EAN-13, as printed below the bars": "9 521234 000013",
    "EAN-13": "]E09521234000013",
    "EAN-13 with the return that a wedge sends": "]E09521234000013\r\n",
    "EAN-13 with an add-on": "]E3952123400001305",
    "padded by a catalogue": "09521234000013",
    "ITF-14": "]I109521234000013",
    "DataBar": "]e00109521234000013",
    "brackets, as zxing-cpp gives them": "(01)09521234000013(10)A-1(17)271231",
    "brackets, as printed": "(01) 09521234000013 (17) 271231 (10) A-1",
    "GS1-128": f"]C1010952123400001310A-1{GS}17271231",
    "GS1-128, lot at the end": "]C101095212340000131727123110A-1",
    "GS1-128 with another sign for GS": "]C1010952123400001310A-1|17271231",
    "GS1 DataMatrix": f"]d2010952123400001310A-1{GS}17271231{GS}",
    "GS1 DataMatrix with a leading GS": f"{GS}010952123400001310A-1{GS}17271231",
    "the same through a wedge": "|010952123400001310A-1|17271231",
    "identifier and leading GS": f"]d2{GS}010952123400001310A-1{GS}17271231",
    "GS1 QR": f"]Q3010952123400001310A-1{GS}17271231",
    "Digital Link": "https://id.gs1.org/01/09521234000013/10/A-1?17=271231",
    "Digital Link with 13 digits, of a shop": "https://shop.example/p/01/9521234000013/?linkType=all",
    "Digital Link in capitals, from a plain QR": "]Q1HTTPS://ID.GS1.ORG/01/09521234000013",
    "EPC": "urn:epc:id:sgtin:9521234.000001.A-1",
    "EPC of a longer company prefix": "urn:epc:id:sgtin:952123400.0001.0007",
    "tag URI": "urn:epc:tag:sgtin-96:1.9521234.000001.7",
    "SGTIN-96": "303645214800004000000007",
    "SGTIN-96 with another filter": "301645214800004000000007",
    "SGTIN-198": "3636452148000060AD62000000000000000000000000000000",
    "SGTIN-198, padded to words": "3636452148000060AD620000000000000000000000000000".ljust(52, "0"),
}
