-- The schema of the crawler and RAG server mcp-crawl4ai-rag: three related tables, the indexes, both search functions and
-- the row-level security that lets everybody read. Written for these tests from the published schema's names, types,
-- constraints and signatures. Run after roles.sql; needs the extension vector.

create table sources (
  source_id text primary key,
  summary text,
  total_word_count integer default 0,
  created_at timestamptz not null default timezone('utc', now()),
  updated_at timestamptz not null default timezone('utc', now())
);

create table crawled_pages (
  id bigserial primary key,
  url varchar not null,
  chunk_number integer not null,
  content text not null,
  metadata jsonb not null default '{}',
  source_id text not null references sources (source_id),
  embedding vector(1536),
  created_at timestamptz not null default timezone('utc', now()),
  unique (url, chunk_number)
);
create index on crawled_pages using ivfflat (embedding vector_cosine_ops);
create index idx_crawled_pages_metadata on crawled_pages using gin (metadata);
create index idx_crawled_pages_source_id on crawled_pages (source_id);

create table code_examples (
  id bigserial primary key,
  url varchar not null,
  chunk_number integer not null,
  content text not null,
  summary text not null,
  metadata jsonb not null default '{}',
  source_id text not null references sources (source_id),
  embedding vector(1536),
  created_at timestamptz not null default timezone('utc', now()),
  unique (url, chunk_number)
);
create index on code_examples using ivfflat (embedding vector_cosine_ops);
create index idx_code_examples_metadata on code_examples using gin (metadata);
create index idx_code_examples_source_id on code_examples (source_id);

create function match_crawled_pages(
  query_embedding vector(1536), match_count int default 10, filter jsonb default '{}', source_filter text default null
) returns table (
  id bigint, url varchar, chunk_number int, content text, metadata jsonb, source_id text, similarity float
) language plpgsql as $$
#variable_conflict use_column
begin
  return query
  select id, url, chunk_number, content, metadata, source_id, 1 - (crawled_pages.embedding <=> query_embedding)
  from crawled_pages
  where metadata @> filter and (source_filter is null or source_id = source_filter)
  order by crawled_pages.embedding <=> query_embedding
  limit match_count;
end;
$$;

create function match_code_examples(
  query_embedding vector(1536), match_count int default 10, filter jsonb default '{}', source_filter text default null
) returns table (
  id bigint, url varchar, chunk_number int, content text, summary text, metadata jsonb, source_id text, similarity float
) language plpgsql as $$
#variable_conflict use_column
begin
  return query
  select id, url, chunk_number, content, summary, metadata, source_id, 1 - (code_examples.embedding <=> query_embedding)
  from code_examples
  where metadata @> filter and (source_filter is null or source_id = source_filter)
  order by code_examples.embedding <=> query_embedding
  limit match_count;
end;
$$;

alter table sources enable row level security;
alter table crawled_pages enable row level security;
alter table code_examples enable row level security;
create policy "Allow public read access to sources" on sources for select to public using (true);
create policy "Allow public read access to crawled_pages" on crawled_pages for select to public using (true);
create policy "Allow public read access to code_examples" on code_examples for select to public using (true);
