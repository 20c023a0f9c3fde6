"""Who may use a store: principals, the API keys by which a server knows them, and what is granted to them."""
