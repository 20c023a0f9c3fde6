"""Split the requests to a model among its aliases, and compare what shared them."""
