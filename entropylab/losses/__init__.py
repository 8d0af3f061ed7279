"""Pure tensor functions: surrogates, controls, selection and the policy loss."""
