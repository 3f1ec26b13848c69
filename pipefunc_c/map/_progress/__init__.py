"""How far a run is, and the views that show it."""
