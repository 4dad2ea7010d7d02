"""What an audit asks of a table: its rows at one position, and to set one right."""
