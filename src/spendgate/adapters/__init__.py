"""One file per port: the only place for databases, HTTP clients and other people's libraries."""
