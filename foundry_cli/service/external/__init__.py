"""External models: requests that name one are forwarded to the server that runs it."""
