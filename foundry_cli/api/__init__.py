"""Wire formats shared by the client and the service."""
