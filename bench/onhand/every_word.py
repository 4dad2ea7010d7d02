"""WordCount as the Java has it: each word is a record of its own, none are added up before."""

import msgspec

from app.programs.program import Step
from app.programs.running import run_program
from examples.wordcount.program import WORDCOUNT, Split


class EveryWord(Split):
    sums_up = False


EVERY_WORD = EveryWord()
PROGRAM = msgspec.structs.replace(
    WORDCOUNT,
    steps=(
        Step("bench.onhand.every_word:EVERY_WORD", reads=["lines"], emits=["words"]),
        WORDCOUNT.steps[1],
    ),
    run_by="python -m bench.onhand.every_word",
)

if __name__ == "__main__":
    run_program(PROGRAM)
