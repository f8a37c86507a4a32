"""What a sweep found, from its plan and the store: results, comparisons, words. Nothing is drawn here."""
