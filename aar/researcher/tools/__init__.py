"""The tools of a researcher, one module per group."""
