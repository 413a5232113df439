"""More ways of holding a new chunk to the old one while it is sampled; they need no training."""
