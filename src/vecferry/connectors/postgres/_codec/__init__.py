"""Everything about PostgreSQL that does no I/O."""
