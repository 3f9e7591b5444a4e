"""Finished runs against each other: statistics, tables, figures and the HTML page."""
