"""Plots as SVG with a text alternative; the numbers come from below."""
