"""Names as people write them, and as nobody should."""

GOOD = [
    *("a", "a b", "...", "a/b%", "SKU-000042", "日本", "Süßigkeit", "🍬", "\U000f0000", "\u0600"),
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, a joiner between letters
    "\u0915\u094d\u200d\u0937",  # Hindi, a joiner behind a mark
    "\U00020000\u200c\U00020001",
]
BAD = [
    *(" a", "a ", " ", ".", "..", "a\nb", "a\x00b", "a\n", "\x7f", "a\u0085b", "\u009f"),
    *("a\u00a0b", "\u3000", "a\u2028", "\u2029a", "a\u1680b", "\u2003"),
    *("a\u00adb", "a\u200bb", "a\u2060b", "\ufeffa", "a\ufe0f", "\u3164", "a\U000e0041", "\u2800"),
    *("\u0378", "a\u0cf3", "\uffff", "\U0001fae8", "\U0010ffff"),
    *("a\u200c", "\u200da", "a\u200c\u200cb", "1\u200db", "\U0001f600\u200d\U0001f600", "\u200c"),
    *("e\u0301", "a\u0323\u0301\u0302", "\u212b", "\u2126", "\u0958", "\U0002f800"),
]
