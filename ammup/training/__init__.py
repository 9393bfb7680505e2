"""The sweep kernel: many replicas of one model on one device."""
