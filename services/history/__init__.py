"""What the log's memory can be asked: what changed, who did it, why, in which order. Pure: events in, values out.

`past` is the one door to the events themselves, wherever they lie.
"""
