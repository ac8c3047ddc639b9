"""A Django REST framework site: people in many ways, and notes on them. Runs in an environment of its own."""
