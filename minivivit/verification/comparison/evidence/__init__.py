"""What is known at the first tensor that differs, how a guess is judged by it, and the answer: a cause."""
