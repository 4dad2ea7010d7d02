"""The worker of page and feed is killed: how long they stand still, and if anything is lost."""
