"""Many runs over methods, parameters, seeds and training sizes, and what they say."""
