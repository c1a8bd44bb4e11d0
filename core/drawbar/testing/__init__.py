"""Real things to test against, for drawbar's own tests, its demo, and whoever builds on it; nothing here is a mock."""
