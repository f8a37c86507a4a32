"""What a trained model can do beside predicting its own data: probes, text of other kinds, tasks of lm-eval.

`ask` asks the probes of `probes/`, which need no download; `compression` measures bits per byte of text that is
shipped; `harness` runs tasks of EleutherAI's lm-eval on models as they are.
"""
