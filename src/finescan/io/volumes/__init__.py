"""Volumes: files to ZYX images and back. One module per kind of file; the tables are in reading and writing."""
