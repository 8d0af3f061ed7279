"""The exact first-order effect of each token's gradient on the policy entropy. Needs torch."""
