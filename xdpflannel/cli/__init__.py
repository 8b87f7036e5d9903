"""The commands; they print what the other rooms compute."""
