"""Mutants: the package with one rule broken, each of which a named test must notice. ``make mutants`` runs them."""
