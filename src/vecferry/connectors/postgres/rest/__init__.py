"""`supabase+https://PROJECT.supabase.co`: the tables of a Supabase project over its REST interface, for reading.

| module     | holds                                                                            |
|------------|----------------------------------------------------------------------------------|
| `address`  | where the project is, and which kind of key we were given                        |
| `api`      | requests and answers: pages of rows, exact counts, the description, refusals     |
| `schema`   | the description of the tables as `vecferry.tables.Table`. Pure                   |
| `query`    | which rows: behind a key, with these keys, as PostgREST writes it. Pure          |
| `wire`     | rows of JSON as rows of a binary COPY, which `_codec.records` reads. Pure        |
| `parents`  | a parent's columns in each of its children's rows                                |
| `source`   | the reading side of one table                                                    |
| `database` | the project as a store                                                           |

By PostgREST's and Supabase's documentation; never run against Supabase (docs/explanation/supabase-double.md).
"""

from vecferry.connectors.postgres.rest.database import CONNECTOR, SupabaseConnector, SupabaseDatabase

__all__ = ["CONNECTOR", "SupabaseConnector", "SupabaseDatabase"]
