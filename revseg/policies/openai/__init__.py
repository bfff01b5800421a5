"""Models behind a server with OpenAI's chat API, as policies."""
