"""The embedded journal: one SQLite file, many processes of one machine."""
