"""X -> (X̂, M): patches of an image are deformed, cut out or swapped (section 3.2)."""
