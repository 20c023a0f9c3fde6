"""Who may use a store: principals, and the API keys by which a server knows them."""
