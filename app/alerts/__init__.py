"""Alerts, put together of the settings; and what the command `onhand alerts` does with them."""
