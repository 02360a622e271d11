"""The two tiny models that ship with edgeinfer, and the recipe that trained them."""
