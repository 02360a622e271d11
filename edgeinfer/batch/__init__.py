"""Files of requests, answered in the background: OpenAI's Batch format."""
