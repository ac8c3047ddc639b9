"""What README's figures come from: every goal of speed as a small program, ours and others' run in turn."""
