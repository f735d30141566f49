"""Reads what people see of submissions - details, board, code, lineage, winners."""
