"""Output for people and programs: tables, JSON, numbers and times, standard streams, log."""
