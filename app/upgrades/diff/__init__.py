"""`onhand upgrade diff`: which rows the next version changes, and why, before it is promoted."""
