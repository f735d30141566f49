"""Draws the charts of pages and report as SVG."""
