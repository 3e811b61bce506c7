"""Object storage and archives: fetch, cache, unpack strictly. Shared by connectors."""
