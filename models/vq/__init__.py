"""The 2D residual-quantised motion autoencoder."""
