"""HTTP to stores and models: one way to ask, to read a refusal, and to keep keys out of what is said about it."""
