"""Documents from outside become facts: all of them are checked first, then sent, each once."""
