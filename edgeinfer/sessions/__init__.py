"""Conversations that are kept: in SQLite, as Markdown, as JSON."""
