"""Ways to lead a webhook inside (server-side request forgery), each tried for real in a network of its own."""
