"""Text from outside, made safe to store, show and send."""
