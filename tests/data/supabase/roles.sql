-- What every Supabase project has around its tables, as far as a migration meets it, in a plain PostgreSQL: the roles of
-- its API with their privileges and statement timeouts, and the schema that extensions are kept in. Written for these
-- tests from Supabase's documentation (roles, timeouts, default privileges of the schema public); may be run again.
-- Roles belong to the whole server: they stay when the database goes.

do $$
begin
  if not exists (select from pg_roles where rolname = 'anon') then
    create role anon nologin noinherit;
    create role authenticated nologin noinherit;
    create role service_role nologin noinherit bypassrls;
    create role authenticator login noinherit password 'the-password-of-the-authenticator';
    grant anon, authenticated, service_role to authenticator;
    alter role anon set statement_timeout = '3s';
    alter role authenticated set statement_timeout = '8s';
    alter role authenticator set statement_timeout = '8s';  -- service_role has none: the authenticator's holds
    alter role authenticator set lock_timeout = '8s';
  end if;
exception
  when unique_violation or duplicate_object then null;  -- another test made them at this very moment
end
$$;

create schema if not exists extensions;
grant usage on schema extensions to anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges in schema public grant execute on functions to anon, authenticated, service_role;
