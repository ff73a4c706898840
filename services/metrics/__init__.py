"""What operators measure: counters and times of each program, served to Prometheus when asked for.

measures    the metrics, one by one (docs/metrics.md says what each means)
logs        a log that counts what is appended to it
readings    what is found out only when somebody asks: lags, depths, heartbeats
serving     a program's own metrics on a socket or port
gathering   all programs of one machine as one page
"""
