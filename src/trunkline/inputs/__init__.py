"""What a model's processor makes of raw input (today: the tokens of a text), and how it is laid out in batches."""
