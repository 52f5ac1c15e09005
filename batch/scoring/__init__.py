"""Booster × users × unseen items → rankings."""
