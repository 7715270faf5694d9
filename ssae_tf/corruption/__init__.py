"""X -> (X̂, M): patches of a picture are deformed, cut out or swapped (section 3.2)."""
