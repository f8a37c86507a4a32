"""GPT-NeoX, as in Pythia: what only it knows."""
