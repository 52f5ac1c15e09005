"""What goes wrong, done to the real parts: nothing that is served may be lost."""
