"""The controllers: what to do about each kind of object. Pure; a worker takes the key and commits what they decide."""
