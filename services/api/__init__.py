"""The Kubernetes HTTP API over the event log: reads from a replica, writes by commit, watches from a ring of events.

`app.application(Cluster, Policy)` is the whole of it as one ASGI application. What others add, they hand in as values:
who is asking, what they may do and what is made of their wish (`seams.Policy`), paths beside the objects' (`Policy.
paths`) and subresources that something else answers (`Policy.parts`).
"""
