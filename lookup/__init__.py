"""The API: reads what the batch wrote into Redis and answers over HTTP."""
