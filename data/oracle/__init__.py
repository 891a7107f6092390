"""The semantic oracle of the mini dataset: reads from joints alone what a motion shows."""
