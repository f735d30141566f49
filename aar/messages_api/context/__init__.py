"""Changes of a request's context: prompt cache, context editing, compaction, thinking."""
