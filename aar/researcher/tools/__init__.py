"""What a researcher can do: one file a tool group."""
