"""Anthropic's dialect: messages and their tokens, and the models."""
