"""Models of transformers as policies: encoding, key-value cache, attention, generation and log-probabilities."""
