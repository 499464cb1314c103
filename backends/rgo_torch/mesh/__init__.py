"""Parameters that are cut up over workers, seen whole."""
