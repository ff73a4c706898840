"""The scheduler: which node each pod runs on, and where its volumes are. Pure.

A new pod, or room for one that waits, dirties the scheduler's one key (`controller`); a `Census` makes a view of the
state; `schedule` places all waiting pods of the view in one batch (`placement` chooses among the nodes that the
`filters` leave, `storage` provides for claims).
"""
