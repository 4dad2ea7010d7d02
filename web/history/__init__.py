"""Questions about the past: to a ledger of this process, or passed on to one that runs."""
