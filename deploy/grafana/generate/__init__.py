"""Writes every dashboard in `dashboards/` from one source: `python3 -m generate`, or `--check`."""
