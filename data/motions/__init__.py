"""One way in for every motion file: BVH, joints as .npy and .npz, SMPL parameters, what the project itself writes."""
