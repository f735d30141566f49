"""Sandboxes that run all code written by researchers.

Docker or bubblewrap, behind one protocol and one channel.
"""
