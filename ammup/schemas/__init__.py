"""JSON Schemas of everything that ammup prints with ``--json`` or writes as JSON."""
