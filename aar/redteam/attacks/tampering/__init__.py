"""Attacks on records: claims, scores, snapshots, names."""
