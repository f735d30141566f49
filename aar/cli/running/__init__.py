"""Running a campaign from a terminal: start, resume, the page process, plain event lines."""
