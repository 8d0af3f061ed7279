"""From hidden states to logprobs, entropies and losses without a tensor of all logits."""
