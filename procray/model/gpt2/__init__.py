"""GPT-2: what only it knows."""
