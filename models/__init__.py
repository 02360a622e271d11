"""Model families: GGUF metadata in, DecoderSpec out."""
