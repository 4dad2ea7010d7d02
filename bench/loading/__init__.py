"""`onhand load`, measured: what it does in a second, and with what a real shop sold in a year."""
