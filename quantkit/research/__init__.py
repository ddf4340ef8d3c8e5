"""Stored data for research: frames of chosen columns and spans, books at any moment, bars built from trades."""
