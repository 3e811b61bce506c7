-- A table whose row-level security shows everybody his own rows and a visitor none: what reading with the wrong key loses
-- without a word. Run after roles.sql; needs the extension vector.

create table private_notes (
  id uuid primary key default gen_random_uuid(),
  owner text not null,
  body text not null,
  embedding vector(3)
);
alter table private_notes enable row level security;
create policy own_rows on private_notes for select to authenticated using (owner = current_setting('request.jwt.claims', true)::json ->> 'sub');
