"""The chat, and what opens over it."""
