"""Drawings of what was found; they import the numbers, never the page."""
