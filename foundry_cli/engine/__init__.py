"""The inference engine: worker processes that run models, and the manager that starts, feeds and ends them."""
