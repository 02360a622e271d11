"""Text in, token ids out, and back: tokenizer, templates, streaming."""
