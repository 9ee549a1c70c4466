"""An admitted run is carried out."""
