"""EDIFACT: interchanges of any directory, whose separators stand in UNA."""
