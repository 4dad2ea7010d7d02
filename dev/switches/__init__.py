"""An open loop of reads and facts over all doors while versions are switched, and its judgement."""
