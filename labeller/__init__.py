"""The labeller: structures in, parts with a teacher's labels out, and the dataset they make."""

VERSION = "0.1.0"
