"""The paged KV cache: blocks and block tables."""
