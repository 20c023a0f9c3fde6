"""The audit log of a server: an entry for each request, what is flushed in the background, and the routes that read it."""
