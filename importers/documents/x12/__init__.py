"""X12: interchanges of any release, whose separators stand in the first 106 bytes."""
