"""What other programs speak: the dialects of requests and answers."""
