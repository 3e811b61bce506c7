"""`postgresql://HOST:PORT/DATABASE`: PostgreSQL with pgvector, Supabase included."""
