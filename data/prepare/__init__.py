"""A user's folder of motions and captions, made into a dataset in HumanML3D's layout."""
