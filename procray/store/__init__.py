"""The database of results: content-addressed phases, journals, leases and plans in a folder or a bucket.

`store.py` is the door. Behind it stands one `Backend`, a `folder.py` or a `bucket.py`, which hands out phases:
`phase.py` is what those of both have in common, `lease.py` who may write one, `journal.py` and `forms.py` what stands
in them. `roots.py`, `contents.py`, `verification.py` and `garbage.py` look at a whole store; `context.py` is what
training sees.
"""
