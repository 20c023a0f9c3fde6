"""One command that shows the whole of the store on a year of flights out of New York."""
