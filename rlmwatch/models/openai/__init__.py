"""Any provider that speaks the OpenAI chat protocol."""
