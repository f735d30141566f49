"""Reads what people see of researchers - transcript, jobs, workspace."""
