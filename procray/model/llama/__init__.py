"""Llama, as in Llama 3 and SmolLM: what only it knows."""
