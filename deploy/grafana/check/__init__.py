"""Checks of the dashboards and alert rules: their structure, and what every query answers. See README.md."""
