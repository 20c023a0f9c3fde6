"""Delta Sharing over HTTP: the routes that manage shares, and those of the protocol that recipients use."""
