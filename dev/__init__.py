"""Tools for people and tests; the service never imports them.

A file here is a command, or what all rooms need: `commands` (`onhand` in a checkout), `workers`
(processes under watch), `browser` (a Chromium), `screenshots` (the page's pictures), `characters`
(writes domain/characters.py).

    kafka/    runs the real Apache Kafka, and brings it: brokers, Java, jars
    oracle/   what the stock must be, by code that shares nothing with the service
    reads/    reads stock all the time, and judges each answer afterwards
    traffic/  a chain of shops that never was
    demo/     `make demo`
    readme/   `make readme`
"""
