"""Data that users bring in arrays, tables and saved data sets."""
