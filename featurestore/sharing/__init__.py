"""Delta Sharing: shares of tables, recipients outside, and the files that these are given."""
