"""Load: a cluster of its own on simulated nodes, many StatefulSets, and what it took.

clusters    a whole control plane in a temporary directory
traces      when each reconcile began, written by the workers
usage       what processes and servers have used
sets        the StatefulSets, and what is done with them
watching    follows the log, and knows which sets are settled
checks      replay = projections = live replica = heads of the log
runs        one run: phases, measurements, checks
statistics  percentiles
reports     a run as a table
"""
