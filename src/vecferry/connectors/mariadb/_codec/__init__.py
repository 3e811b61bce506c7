"""Between MariaDB's text protocol and canonical batches: values read, values written, keys, filters. No I/O."""
