"""Models of transformers as policies: codecs, key-value cache, attention, generation and log-probabilities."""
