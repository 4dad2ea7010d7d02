"""`python -m examples.wordcount topics` and `… worker`."""

from app.programs.running import run_program
from examples.wordcount.program import WORDCOUNT

run_program(WORDCOUNT)
