"""Who sends a request, and whether they may: credentials, what each route needs, and the routes of API keys."""
