"""EPCIS 1.2 and 2.0, in JSON-LD and XML: one kind of events, whatever they were written in."""
