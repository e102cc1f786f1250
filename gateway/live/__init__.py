"""The live page: datasets and factory as a person watches and steers them in a browser."""
