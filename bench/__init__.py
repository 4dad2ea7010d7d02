"""Benchmarks: Onhand beside its peers, on one machine, in one run, each result checked.

`python -m bench` (or `make bench`) loads one topic set, lets every system fold
it, stops each clock at the last commit, kills the process there and compares
what committed readers find with one oracle. See bench/README.md.
"""
