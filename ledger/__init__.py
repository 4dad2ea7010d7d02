"""The SQL side: every record of the log as a line, and the questions that only history answers."""
