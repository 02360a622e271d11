"""Ollama's dialect: chat and generate, and what its clients ask before them."""
