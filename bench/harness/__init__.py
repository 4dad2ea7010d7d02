"""The rules of the contest and its stop-watch: the same for every system that is measured."""
