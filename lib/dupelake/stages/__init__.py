"""DataFrame in, DataFrame out; nothing here reads, writes or acts (components excepted)."""
