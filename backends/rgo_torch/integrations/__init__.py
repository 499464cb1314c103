"""RGO in other people's training loops, a module for each library.

Nothing here is imported with rgo_torch; a module imports the library that it serves.
"""
