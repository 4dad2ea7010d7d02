"""`/docs`: the calls and the topics, as their two documents tell them, for people to read."""
