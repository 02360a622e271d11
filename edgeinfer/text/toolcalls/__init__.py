"""Calls of tools and reasoning in answers: a file for each way to write them, `syntax` has the table."""
