"""Kubernetes' own end-to-end tests of StatefulSet, DaemonSet and ControllerRevision, by their behaviour.

Each test is one `It` of test/e2e/apps, run from outside with the official Python client; its docstring begins with the
sentence that the `It` is known by.
"""
