-- The table and the search function that LangChain's vector store for Supabase expects. Written for these tests from
-- their names, types and signatures. Run after roles.sql; needs the extension vector.

create table documents (
  id bigserial primary key,
  content text,
  metadata jsonb,
  embedding vector(1536)
);

create function match_documents(
  query_embedding vector(1536), match_count int default null, filter jsonb default '{}'
) returns table (
  id bigint, content text, metadata jsonb, similarity float
) language plpgsql as $$
#variable_conflict use_column
begin
  return query
  select id, content, metadata, 1 - (documents.embedding <=> query_embedding)
  from documents
  where metadata @> filter
  order by documents.embedding <=> query_embedding
  limit match_count;
end;
$$;
