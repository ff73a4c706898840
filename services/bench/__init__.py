"""What this machine can do at best, what Chronoset makes of it, and what was promised.

gates       a reading, what it must be, and whether it is; the report
floors      PING, fdatasync, folds of nothing
worlds      a realistic history and a large set, in memory
logs        append and fold
growth      what one pod's change costs among 10 to 10,000
apis        what the HTTP API does
clients     who asks it
clusters    what needs real processes: hops, an ordered set, tails, idleness
lines       every line by name, in the order of the report
"""
