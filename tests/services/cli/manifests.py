"""Manifests as people write them."""

from __future__ import annotations

DB = b"""
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "mysql:5.7.2"}]}
"""

SET = DB.partition(b"---")[2]

SECRET = b"""
apiVersion: v1
kind: Secret
metadata: {name: password}
data: {word: c2VzYW1l}
"""
