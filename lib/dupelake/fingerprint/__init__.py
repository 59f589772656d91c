"""From the bytes of a file to its hashes, digest, thumbnail and measured quality."""
