"""Spark transforms: frame in, frame out, in column expressions alone.

They know no session, no table and no clock, don't read the session's time zone, and run on classic
Spark as on Spark Connect.
"""
