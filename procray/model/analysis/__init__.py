"""What a model does inside: where its heads look, how its weights are spread, how alike two models see a batch.

Pure functions of models, weights and tokens; nothing here reads a store.
"""
