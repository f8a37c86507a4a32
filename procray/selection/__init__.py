"""What needs a plan and a store together: the choices of `select:`, and checkpoints from outside."""
