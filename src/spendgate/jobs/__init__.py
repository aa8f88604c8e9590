"""The jobs: read, transform, MERGE, report. Each can be run twice and says what it changed.

Owns the Spark session and the names of the tables; what a row means is in `transforms` and
`domain`.
"""
